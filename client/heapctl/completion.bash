# bash completion for heapctl
_heapctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} word last= verb= value=
	local verbs="status list clients users classes types spans roots config gc log trace verify receipts stat top events
		leaks profile diff histo snapshot retained why who dot map"
	local heapctl=(heapctl --no-legend --no-pager)
	# readline cuts words at =, too: --heap=NAME is three of them.
	if [[ $cur == = ]]; then
		cur='' value=yes
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]} value=yes
	fi
	# What was typed already says which heap, of which daemon, is asked for names.
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		[[ $word != = ]] || continue
		case $last in
		-H | --heap) heapctl+=(--heap="$word") ;;
		--socket) heapctl+=(--socket="$word") ;;
		--json | --by | --top | --profile | -o | --output) ;;
		*) [[ " ${verbs//[$'\n\t']/ } " != *" $word "* ]] || verb=${verb:-$word} ;;
		esac
		last=$word
	done
	case $prev in
	-H | --heap)
		mapfile -t COMPREPLY < <(compgen -W "$("${heapctl[@]}" list 2>/dev/null)" -- "$cur")
		return ;;
	-o | --output | --socket | --profile)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return ;;
	--json)
		mapfile -t COMPREPLY < <(compgen -W "short pretty off" -- "$cur")
		return ;;
	--by)
		mapfile -t COMPREPLY < <(compgen -W "type root site" -- "$cur")
		return ;;
	--top)
		return ;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "--heap= --socket= --json= --no-legend --no-pager --allocated --folded --profile=
			--live --age --bytes --by= --no-gc --top= --output= --help --version" -- "$cur")
		[[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace 2>/dev/null
	elif [[ $verb == config && -z $value ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$("${heapctl[@]}" config 2>/dev/null | cut -d ' ' -f 1)" -- "$cur")
	elif [[ $verb == diff ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	elif [[ -z $verb ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur")
	fi
}
complete -F _heapctl heapctl
