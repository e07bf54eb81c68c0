//! Answers that name neither their key nor an opaque token, where quiet commands can have them: which of them it is.
//!
//! A quiet command is silent where its answer would be the nominal one, so of `mg a v q`, `mg b v q` any can be the one
//! that a value answers. What is certain: answers come in the order of the commands, and one that is not quiet has one
//! (doc/protocol.txt, "Meta Commands": clients end a row of quiet ones with `mn` for that). So the answers wait until one
//! comes of which the command is known, and then those have a command to which no other assignment is possible.

use super::reply::Reply;
use super::request::Ask;

/// How many answers may wait for the one that tells.
pub const HELD_MAX: usize = 64;

/// What each answer can belong to.
#[derive(Debug, PartialEq, Eq)]
pub struct Assigned {
    /// For each answer: the commands that it can belong to, by their place; empty where there are none.
    pub options: Vec<Vec<usize>>,
}

impl Assigned {
    /// The answer that belongs to a command for sure.
    pub fn answer_of(&self, command: usize) -> Option<usize> {
        self.options.iter().position(|options| options[..] == [command])
    }

    /// Whether an answer may belong to a command, and it is not known which.
    pub fn is_doubtful(&self, command: usize) -> bool {
        self.options.iter().any(|options| options.len() > 1 && options.contains(&command))
    }
}

/// All assignments of answers to commands that keep their order. `all_answered`: those that are not quiet have one each.
pub fn assign(
    commands: &[&Ask],
    answers: &[Reply],
    all_answered: bool,
    fits: impl Fn(&Ask, &Reply) -> bool,
) -> Assigned {
    let (rows, columns) = (answers.len() + 1, commands.len() + 1);
    let may_be_silent = |command: usize| commands[command].quiet || !all_answered;
    let fits: Vec<Vec<bool>> =
        answers.iter().map(|answer| commands.iter().map(|ask| fits(ask, answer)).collect()).collect();
    // Whether the first answers can belong to the first commands, and the others to the others.
    let mut before = vec![vec![false; columns]; rows];
    let mut behind = vec![vec![false; columns]; rows];
    before[0][0] = true;
    behind[rows - 1][columns - 1] = true;
    for row in 0..rows {
        for column in 1..columns {
            let silent = before[row][column - 1] && may_be_silent(column - 1);
            let answered = row > 0 && before[row - 1][column - 1] && fits[row - 1][column - 1];
            before[row][column] |= silent || answered;
        }
    }
    for row in (0..rows).rev() {
        for column in (0..columns - 1).rev() {
            let silent = behind[row][column + 1] && may_be_silent(column);
            let answered = row + 1 < rows && behind[row + 1][column + 1] && fits[row][column];
            behind[row][column] |= silent || answered;
        }
    }
    let options = |row: usize| {
        let can = |&column: &usize| fits[row][column] && before[row][column] && behind[row + 1][column + 1];
        (0..commands.len()).filter(can).collect()
    };
    Assigned { options: (0..answers.len()).map(options).collect() }
}
