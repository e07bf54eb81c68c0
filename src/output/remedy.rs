//! The command that a report names for a cause: that of the catalogue, with what the report knows filled in.

use crate::compare::Report;
use crate::event::Cause;
use crate::ledger::catalogue;
use std::collections::BTreeSet;

/// What stands for process ids in the catalogue.
const PLACE: &str = "PID";

/// As many processes as one would still name in a command.
const MOST: usize = 8;

/// The command to run next for a cause, of the processes that have it; absent where there is none.
pub fn command(report: &Report, cause: Cause) -> Option<String> {
    let command = catalogue::entry(cause).command?;
    let concerned = report
        .connections
        .iter()
        .filter(|one| one.of_process && one.findings.iter().any(|finding| finding.cause == cause));
    let pids: BTreeSet<u32> = concerned.filter_map(|one| one.info.task).map(|task| task.pid).collect();
    if pids.is_empty() || pids.len() > MOST {
        return Some(command.to_owned());
    }
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    Some(command.replace(PLACE, &pids.join(",")))
}
