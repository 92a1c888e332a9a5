"""What the shells run at a Tab (`ktpy completion SHELL` prints it), how they ask ktpy, and how it answers them.

They ask by the environment: _KTPY_COMPLETE is `SHELL_complete`, COMP_WORDS the line, and COMP_CWORD the word at the
cursor, or in zsh its index. An answer is a type, a value and a help: `plain`, `open` (something follows without a
space), `file` or `dir` (the shell finds these).

After `--` comes a command of the user's own, which the shell completes. bash divides words at `=` and `:`, as in
`--context=a` and `-e 3001:80`; zsh may not have run compinit yet; fish wants `--context=` before the value again.
"""

import shlex
from collections.abc import Mapping
from typing import NamedTuple

SCRIPTS = {
    "bash": """\
_ktpy_completion() {
    local IFS=$'\\n' at kind value
    for ((at = 1; at < COMP_CWORD; at++)); do
        [[ ${COMP_WORDS[at]} == -- ]] && break
    done
    if ((at < COMP_CWORD)); then
        if declare -F _command_offset > /dev/null; then  # of bash-completion
            IFS=$' \\t\\n' _command_offset $((at + 1))
        elif ((at + 1 == COMP_CWORD)); then
            mapfile -t COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}")
        else
            compopt -o default
        fi
        return
    fi
    while IFS=, read -r kind value; do
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            open) compopt -o nospace ;;&
            open | plain) COMPREPLY+=("$value") ;;
        esac
    done < <(env COMP_WORDS="${COMP_LINE:0:COMP_POINT}" COMP_CWORD="${COMP_WORDS[COMP_CWORD]}" \\
        _KTPY_COMPLETE=bash_complete "$1")
}
complete -o nosort -F _ktpy_completion ktpy
""",
    "zsh": """\
#compdef ktpy
_ktpy_completion() {
    local at=${words[(i)--]} kind value help ret=1
    if (( at < CURRENT )); then
        shift $at words
        (( CURRENT -= at ))
        _normal
        return
    fi
    compset -P "--*="
    local -a plain open told
    for kind value help in "${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \\
        _KTPY_COMPLETE=zsh_complete ktpy)}"; do
        case $kind in
            dir) _path_files -/ && ret=0 ;;
            file) _path_files -f && ret=0 ;;
            open) open+=("$value") ;;
            plain) [[ $help == _ ]] && plain+=("$value") || told+=("${value//:/\\\\:}:$help") ;;
        esac
    done
    (( $#told )) && _describe -V ktpy told && ret=0
    (( $#plain )) && compadd -V ktpy -a plain && ret=0
    (( $#open )) && compadd -V ktpy -S "" -a open && ret=0
    return ret
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _ktpy_completion "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _ktpy_completion ktpy
fi
""",
    "fish": """\
function _ktpy_completion
    set -l tokens (commandline -opc)
    if set -l at (contains --index -- -- $tokens)
        set -e tokens[1..$at]
        complete --do-complete (string join " " -- $tokens (commandline -ct))
        return
    end
    set -l flag (string match --regex -- "^--[^=]*=" (commandline -ct))
    for answer in (env COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) _KTPY_COMPLETE=fish_complete ktpy)
        set -l parts (string split --max 1 "," -- $answer)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case "*"
                echo $parts[2]
        end
    end | string replace --regex -- "^" "$flag"
end
complete --no-files --command ktpy --arguments "(_ktpy_completion)"
""",
}


class Question(NamedTuple):
    """A Question is a line that a shell asks about."""

    shell: str
    words: list[str]
    """Those after the program's name and before the cursor."""
    typed: str
    """What there is of the word at the cursor."""
    cursor: str
    """The word at the cursor as the shell divides the line."""

    @classmethod
    def asked(cls, environment: Mapping[str, str]) -> "Question":
        """Read it. Raises LookupError and ValueError for what is none."""
        shell, line, cursor = (environment[name] for name in ("_KTPY_COMPLETE", "COMP_WORDS", "COMP_CWORD"))
        _, *words = _split(line)
        if shell == "zsh_complete":
            before, rest = words[: int(cursor) - 1], words[int(cursor) - 1 :]
            return cls(shell, before, rest[0] if rest else "", cursor)
        is_begun = bool(words) and not line[-1].isspace()
        return cls(shell, words[:-1] if is_begun else words, words[-1] if is_begun else "", cursor)

    def answer(self, kind: str, value: str, help_: str) -> str:
        """Return one answer as the shell reads it."""
        help_ = " ".join(help_.split())
        if self.shell == "zsh_complete":
            return f"{kind}\n{value}\n{help_ or '_'}"
        if self.shell == "fish_complete":
            return f"{kind},{value}" + (f"\t{help_}" if help_ else "")
        typed = self.typed.partition("=")[2] if self.typed.startswith("--") else self.typed
        return f"{kind},{value.removeprefix(typed[: len(typed) - len(self.cursor.strip('=:'))])}"


def _split(line: str) -> list[str]:
    """Split a line as a shell does; a quotation at its end need not be closed."""
    tokens = shlex.shlex(line, posix=True, punctuation_chars=False)
    tokens.whitespace_split, tokens.commenters = True, ""
    found: list[str] = []
    try:
        found.extend(tokens)  # keeps what came before the exception
    except ValueError:
        found.append(tokens.token)
    return found
