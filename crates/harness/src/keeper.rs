//! The keeper: a shell that outlives this process for as long as it takes to end what it has started.
//!
//! It reads from a pipe which processes are running and which folders are there. The pipe ends with this process,
//! however that ends; then the keeper kills the ones and removes the others. It is in a process group of its own and
//! ignores what a terminal sends to all, so it is not ended together with us.
//!
//! A child must not run before the keeper knows it, or there is a moment in which it could be left behind. So children
//! start as a shell that waits for a word (`GATE`), which is given once the keeper has been told (`adopt`).

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};

/// What the keeper runs. Each line it reads is a word and a value; at the end of them it cleans up. Processes that have
/// started others themselves are asked before they are killed; a folder is tried again, since one that has just been
/// killed may have been writing into it.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM PIPE
set -f
asked= killed= folders=
IFS='
'
without() { for item in $1; do [ "$item" = "$2" ] || printf '%s\n' "$item"; done; }
while read -r line; do
    value=${line#* }
    case ${line%% *} in
        ask) asked="$asked$value
" ;;
        kill) killed="$killed$value
" ;;
        ended) asked="$(without "$asked" "$value")
" killed="$(without "$killed" "$value")
" ;;
        folder) folders="$folders$value
" ;;
        gone) folders="$(without "$folders" "$value")
" ;;
    esac
done
for pid in $killed; do kill -KILL "$pid"; done
for pid in $asked; do
    kill -TERM "$pid"
    for try in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" && sleep 0.1; done
    kill -KILL "$pid"
done
for folder in $folders; do
    for try in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$folder" && break; sleep 0.1; done
done
"#;

/// What a child is before it is the program: the program and its arguments follow. Without the word it ends.
pub(crate) const GATE: &str = r#"read -r word && exec "$@""#;
/// The same for a program whose input is not ours to write.
pub(crate) const GATE_WITHOUT_INPUT: &str = r#"read -r word && exec "$@" </dev/null"#;

/// How a process is ended that we have left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// SIGKILL at once.
    Killed,
    /// SIGTERM, and SIGKILL a second later: it ends what it has started itself.
    Asked,
}

static KEEPER: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// Tells the keeper of a child that waits at its gate, then opens that. Gives the child's input, if it is to have one.
///
/// # Errors
/// When there is no keeper: the child then ends by itself.
pub(crate) fn adopt(
    child: &mut Child,
    ending: Ending,
    keep_input: bool,
) -> anyhow::Result<Option<ChildStdin>> {
    let word = match ending {
        Ending::Killed => "kill",
        Ending::Asked => "ask",
    };
    tell(word, &child.id().to_string())?;
    let mut input = child.stdin.take().context("a child's input is a pipe")?;
    input.write_all(b"go\n").context("the child has ended before it began")?;
    Ok(keep_input.then_some(input))
}

/// The process has ended, and its number may be somebody else's.
pub(crate) fn forget(pid: u32) {
    // If the keeper has gone, there is nobody left to be wrong.
    let _ = tell("ended", &pid.to_string());
}

/// Tells the keeper of a folder that is about to be made.
pub(crate) fn keep_folder(path: &Path) -> anyhow::Result<()> {
    tell("folder", folder_text(path)?)
}

/// The folder has been removed, or is to stay.
pub(crate) fn forget_folder(path: &Path) {
    if let Ok(text) = folder_text(path) {
        // As with a process.
        let _ = tell("gone", text);
    }
}

fn folder_text(path: &Path) -> anyhow::Result<&str> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    ensure!(!text.contains('\n') && path.is_absolute(), "{text}: a folder's path is one absolute line");
    Ok(text)
}

fn tell(word: &str, value: &str) -> anyhow::Result<()> {
    let mut keeper = KEEPER.lock().unwrap_or_else(PoisonError::into_inner);
    let input = match &mut *keeper {
        Some(input) => input,
        empty => empty.insert(start()?),
    };
    input.write_all(format!("{word} {value}\n").as_bytes()).context("the keeper has ended")
}

fn start() -> anyhow::Result<ChildStdin> {
    // Whoever reads what we print must not wait for the keeper.
    let mut keeper = Command::new("sh")
        .args(["-c", SCRIPT, "campanile-keeper"])
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("a shell (sh) is needed to look after what is started")?;
    keeper.stdin.take().context("the keeper's input is a pipe")
}
