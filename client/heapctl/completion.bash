# bash completion for heapctl
_heapctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} word verb=
	local verbs="status list clients classes types spans roots config gc log trace verify receipts stat top events
		leaks profile diff histo snapshot retained why who dot map"
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		[[ " ${verbs//[$'\n\t']/ } " != *" $word "* ]] || verb=$word
	done
	case $prev in
	-H | --heap)
		mapfile -t COMPREPLY < <(compgen -W "$(heapctl --no-legend --no-pager list 2>/dev/null)" -- "$cur")
		return ;;
	-o | --output | --socket | --profile)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return ;;
	esac
	if [[ $cur == -* ]]; then
		verbs="--heap= --socket= --json=short --json=pretty --json=off --no-legend --no-pager --allocated --folded --profile= --live --age --bytes --by=type --by=root --by=site --no-gc --top=
			--output= --help --version"
	elif [[ $verb == config ]]; then
		verbs=$(heapctl --no-legend --no-pager config 2>/dev/null | cut -d ' ' -f 1)
	elif [[ -n $verb ]]; then
		return
	fi
	mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur")
}
complete -F _heapctl heapctl
