"""`ktpy completion` prints the shell's half of tab completion.

It is click's, but for what shells and users need besides: after `--` comes a command of its own, which the shell
completes; bash divides words at `=` and `:`, as in `--context=a` and `-e 3001:80`; zsh may not have run compinit yet;
and in fish a help may have commas.
"""

import os

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from ktpy.cli.options import verbose

_BASH = """\
%(complete_func)s() {
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
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(env COMP_WORDS="${COMP_LINE:0:COMP_POINT}" COMP_CWORD="${COMP_WORDS[COMP_CWORD]}" \\
        %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_ZSH_BEGIN = "    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n"
_ZSH_COMMAND = """
    local at=${words[(i)--]}
    if (( at < CURRENT )); then
        shift $at words
        (( CURRENT -= at ))
        _normal
        return
    fi
    compset -P "--*="
"""
_FISH_COMMAND = """
    set -l tokens (commandline -opc)
    if set -l at (contains --index -- -- $tokens)
        set -e tokens[1..$at]
        complete --do-complete (string join " " -- $tokens (commandline -ct))
        return
    end
"""


class _Bash(BashComplete):
    source_template = _BASH

    def source(self) -> str:
        return self.source_template % self.source_vars()  # without asking a bash for its version

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and what is typed of the last one, from the whole line."""
        line = os.environ["COMP_WORDS"]
        _, *words = split_arg_string(line)
        return (words, "") if not words or line[-1].isspace() else (words[:-1], words[-1])

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Leave out what bash does not count to the word: it divides words at `=` and `:`."""
        _, typed = self.get_completion_args()
        _, _, typed = typed.rpartition("=") if typed.startswith("--") else ("", "", typed)
        word = os.environ["COMP_CWORD"].strip("=:")
        return f"{item.type},{item.value.removeprefix(typed[: len(typed) - len(word)])}"


class _Zsh(ZshComplete):
    source_template = (
        ZshComplete.source_template.replace("() {\n", "() {" + _ZSH_COMMAND, 1)
        .replace("compadd -U ", "compadd ")  # which would put the value in place of the option
        .replace("    compdef ", _ZSH_BEGIN + "    compdef ")
    )


class _Fish(FishComplete):
    source_template = FishComplete.source_template.replace('string split ","', 'string split --max 1 ","').replace(
        "%(complete_func)s;", "%(complete_func)s;" + _FISH_COMMAND, 1
    )


for _shell in (_Bash, _Zsh, _Fish):
    add_completion_class(_shell)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@verbose
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL; for example `source <(ktpy completion bash)`."""
    completer = get_completion_class(shell)
    if completer is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(completer(ctx.find_root().command, {}, "ktpy", "_KTPY_COMPLETE").source())
