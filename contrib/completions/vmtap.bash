# SPDX-License-Identifier: BSD-2-Clause
# bash completion of vmtap, vmtap-agent, vmtap-rpcapd and vmtap-collector. What there is to say is asked from --help each time.

_vmtap_argument()	# what OPTION takes by HELP, as "FILE" or "in|out|inout"; fails if it takes nothing
{
	local option=$1 help=$2
	[[ $help =~ (^|[[:space:]])"$option"(,\ --[a-z-]+)?=([^[:space:]]+) ]] && REPLY=${BASH_REMATCH[3]}
}

_vmtap()
{
	local command=$1 current=$2 option=$3 help word REPLY
	local -a verbs=()
	COMPREPLY=()
	[[ ${command##*/} != vmtap-rpcapd ]] || command=${command%rpcapd}agent	# its long options are those
	help=$("$command" --help 2>/dev/null) || return
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		[[ $word =~ ^[a-z][a-z-]*$ && $help =~ (^|$'\n')'  '"$word"' ' ]] || continue
		verbs+=("$word")
		help=$("$command" "${verbs[@]}" --help 2>/dev/null) || return
	done
	if [[ $current == = ]]; then
		current=
	elif [[ $option == = ]]; then
		option=${COMP_WORDS[COMP_CWORD-2]}
	fi
	if [[ $option == -* ]] && _vmtap_argument "$option" "$help"; then
		case $option,$REPLY in
		-i,*|--interface,*) mapfile -t COMPREPLY < <(cd /sys/class/net && compgen -f -- "$current");;
		*,FILE|*,DIR|*,PATH*|*'|'PATH*) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current");;
		*,*[a-z]'|'[a-z]*) mapfile -t COMPREPLY < <(compgen -W "$(tr "|[" "  " <<<"${REPLY%%[*}")" -- "$current");;
		esac
	elif [[ $current == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(grep -oE -- '^ +(-., )?--[a-z-]+=?' <<<"$help" | grep -oE -- '--[a-z-]+=?')" -- "$current")
		[[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace
	else
		mapfile -t COMPREPLY < <(compgen -W "$(sed -n 's/^  \([a-z][a-z-]*\)  *.*/\1/p' <<<"$help")" -- "$current")
		# "usage: vmtap token create ... | list ..." of a verb whose own are not a table
		if [[ ${#verbs[@]} != 0 && $option == "${verbs[-1]}" && ${#COMPREPLY[@]} == 0 ]]; then
			mapfile -t COMPREPLY < <(compgen -W "$(sed -n '1{s/^usage: [a-z]* '"$option"' /| /;s/ | /\n/g;s/^| //;p;}' <<<"$help" |
				sed -n 's/^\([a-z][a-z]*\)\( .*\)*$/\1/p')" -- "$current")
		fi
	fi
} &&
complete -F _vmtap vmtap vmtap-agent vmtap-rpcapd vmtap-collector
