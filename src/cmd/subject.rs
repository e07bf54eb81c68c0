//! What a subcommand is to look at: which of the ways the user chose, and whom that means.

use super::options::{Input, Targets, TracedCommand};
use crate::event::Comm;
use crate::exit::Usage;
use crate::process;
use crate::process::cgroup::Cgroup;
use crate::process::container::Container;
use std::ffi::OsString;
use std::path::PathBuf;

const HINT: &str =
    "give one of: -p PID, --comm NAME, --cgroup PATH, --container ID, -a, -r FILE, -- CMD ARGS";

/// What to look at, once it is clear which of the ways was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Processes.
    Processes(Chosen),
    /// A command to be started.
    Command(Vec<OsString>),
    /// A file, or stdin.
    File(PathBuf),
}

/// Processes that run, or will.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// By id.
    pub pids: Vec<u32>,
    /// By name.
    pub names: Vec<Comm>,
    /// By where they are.
    pub cgroups: Vec<Cgroup>,
    /// All of them.
    pub all: bool,
}

impl Subject {
    /// Chooses. With a file, the processes are a filter and not the subject.
    ///
    /// # Errors
    /// None was given, some that don't go together, or a cgroup or container that can't be found.
    pub fn choose(targets: &Targets, command: &TracedCommand, input: &Input) -> Result<Subject, Usage> {
        let given = given(targets);
        let live_only = given.iter().find(|&&option| option != "-p");
        match (&input.read, &command.command[..]) {
            (Some(_), [_, ..]) => Err(Usage::new("a command can't be combined with -r", HINT)),
            (Some(file), []) => match live_only {
                None => Ok(Subject::File(file.clone())),
                Some(option) => Err(Usage::new(
                    format!("{option} can't be combined with -r"),
                    "of whom to show, a file tells the process id: -p PID",
                )),
            },
            (None, command @ [_, ..]) => match given.iter().find(|&&option| option != "-f") {
                None => Ok(Subject::Command(command.to_vec())),
                Some(option) => Err(Usage::new(format!("a command can't be combined with {option}"), HINT)),
            },
            (None, []) => match given[..] {
                [] | ["-f"] => Err(Usage::new("nothing to look at", HINT)),
                [_, ..] if targets.all && given.len() > 1 => Err(Usage::new(
                    format!("-a can't be combined with {}", given[0]),
                    "-a alone traces every process",
                )),
                _ => chosen(targets).map(Subject::Processes),
            },
        }
    }
}

/// The options of whom to trace that were given, -a last.
fn given(targets: &Targets) -> Vec<&'static str> {
    let options = [
        (!targets.processes.pids.is_empty(), "-p"),
        (targets.follow_forks, "-f"),
        (!targets.comm.is_empty(), "--comm"),
        (!targets.cgroup.is_empty(), "--cgroup"),
        (!targets.container.is_empty(), "--container"),
        (targets.all, "-a"),
    ];
    options.into_iter().filter(|(given, _)| *given).map(|(_, option)| option).collect()
}

fn chosen(targets: &Targets) -> Result<Chosen, Usage> {
    let mut cgroups = Vec::new();
    for path in &targets.cgroup {
        cgroups.extend(Cgroup::named(path).map_err(|error| {
            let message = match error.kind() {
                std::io::ErrorKind::NotFound => format!("{} is no cgroup", path.display()),
                _ => format!("cgroup {}: {error}", path.display()),
            };
            Usage::new(message, "name its directory, or its path as /proc/PID/cgroup shows it")
        })?);
    }
    for container in &targets.container {
        cgroups.extend(Container::cgroups(container).map_err(|error| {
            Usage::new(
                format!("container {container}: {error}"),
                "give an id, a beginning of one that is unique, or a name; or use --cgroup",
            )
        })?);
    }
    let pids = targets.processes.pids.clone();
    Ok(Chosen { pids, names: targets.comm.clone(), cgroups, all: targets.all })
}

impl Chosen {
    /// The processes that are meant now; none where all are.
    pub fn running(&self) -> Vec<u32> {
        let named = self.names.iter().flat_map(|name| process::named(name).unwrap_or_default());
        let inside = self.cgroups.iter().flat_map(Cgroup::pids);
        self.pids.iter().copied().chain(named).chain(inside).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        targets: Targets,
        #[command(flatten)]
        input: Input,
        #[command(flatten)]
        command: TracedCommand,
    }

    fn choose(args: &str) -> Result<Subject, String> {
        let line = Line::try_parse_from(std::iter::once("x").chain(args.split_whitespace())).unwrap();
        Subject::choose(&line.targets, &line.command, &line.input).map_err(|error| error.message)
    }

    #[test]
    fn ways_that_go_together() {
        let processes = |args| match choose(args) {
            Ok(Subject::Processes(chosen)) => chosen,
            other => panic!("{args}: {other:?}"),
        };
        let name = Comm::new(b"nginx");
        assert_eq!(processes("-p 1,2 -f"), Chosen { pids: vec![1, 2], ..Chosen::default() });
        assert_eq!(processes("-a"), Chosen { all: true, ..Chosen::default() });
        let both = Chosen { pids: vec![1], names: vec![name], ..Chosen::default() };
        assert_eq!(processes("-p 1 --comm nginx -f"), both);
        assert!(matches!(choose("-f -- true"), Ok(Subject::Command(_))));
        assert!(matches!(choose("-p 1 --port 80 -r x"), Ok(Subject::File(_))));
    }

    #[test]
    fn ways_that_don_t() {
        for (args, message) in [
            ("", "nothing to look at"),
            ("-f", "nothing to look at"),
            ("--port 80", "nothing to look at"),
            ("-a -p 1", "-a can't be combined with -p"),
            ("-a -f", "-a can't be combined with -f"),
            ("-a --comm x", "-a can't be combined with --comm"),
            ("-p 1 -- true", "a command can't be combined with -p"),
            ("-a -- true", "a command can't be combined with -a"),
            ("--comm x -- true", "a command can't be combined with --comm"),
            ("-r x -- true", "a command can't be combined with -r"),
            ("-r x -f", "-f can't be combined with -r"),
            ("-r x --comm x", "--comm can't be combined with -r"),
            ("-r x -a", "-a can't be combined with -r"),
            ("--cgroup no/such/cgroup", "no/such/cgroup is no cgroup"),
        ] {
            assert_eq!(choose(args).unwrap_err(), message, "{args}");
        }
        let unknown = choose("--container no-such-container").unwrap_err();
        assert!(unknown.starts_with("container no-such-container: there is none"), "{unknown}");
    }
}
