# bash completion for yester: what it knows, the program itself tells by --help.

_yester_words() { # the first column below a heading of a help text
    sed -n "/^$1:/,/^\$/s/^  \([a-z][a-z ]*[a-z]\)  .*/\1/p"
}

_yester_options() {
    yester "$@" --help 2>/dev/null | grep -o -e '--[a-z][a-z0-9-]*' | sort -u
}

# The names of snapshots, where no passphrase has to be typed for them.
_yester_snapshots() {
    echo latest
    setsid -w yester --quiet list --json 2>/dev/null </dev/null | grep -o '"name": *"[0-9_]*"' | grep -o '[0-9]\{8\}_[0-9]\{6\}'
}

_yester() {
    local word=${COMP_WORDS[COMP_CWORD]} commands command="" i
    COMPREPLY=()
    commands=$(yester --help 2>/dev/null | _yester_words Commands)
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in -*) continue ;; esac
        if grep -q -x -e "${COMP_WORDS[i]}" -e "${COMP_WORDS[i]} .*" <<<"$commands"; then
            command=${COMP_WORDS[i]}
            grep -q -x -e "$command ${COMP_WORDS[i + 1]}" <<<"$commands" && command+=" ${COMP_WORDS[i + 1]}"
            break
        fi
    done
    # shellcheck disable=SC2086 # a command may be two words
    case $command:$word in
    *:-*) mapfile -t COMPREPLY < <(compgen -W "$(_yester_options $command)" -- "$word") ;;
    :*) mapfile -t COMPREPLY < <(compgen -W "$(cut -d " " -f 1 <<<"$commands" | uniq)" -- "$word") ;;
    key:* | catalog:* | wal:*)
        mapfile -t COMPREPLY < <(compgen -W "$(sed -n "s/^$command //p" <<<"$commands")" -- "$word") ;;
    ls:* | cat:* | diff:* | restore:* | verify:* | forget:* | unforget:* | hold:* | release:*)
        mapfile -t COMPREPLY < <(compgen -W "$(_yester_snapshots)" -- "$word") ;;
    esac
    [[ ${#COMPREPLY[@]} -gt 0 ]] || compopt -o default 2>/dev/null
}

complete -F _yester yester
