//! What a connection has prepared: from the number of a statement to its SQL, parameters and columns.
//!
//! A server never gives a number twice on a connection, so what is known of one stays true whatever is lost; a
//! statement whose preparation was not seen is unknown.

use super::sql;
use super::values::Kind;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How many statements of a connection are remembered.
pub const STATEMENTS_MAX: usize = 4096;

/// How many bytes of all statements of a connection are remembered.
pub const BYTES_MAX: usize = 4 << 20;

/// How many parameters of one statement are told apart (the most that a server allows).
pub const PARAMETERS_MAX: usize = 65_535;

/// The number by which MariaDB's clients mean the statement that they prepared last.
pub const LAST: u32 = u32::MAX;

/// A statement's text, passwords masked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// What is kept of it.
    pub text: Vec<u8>,
    /// How long it is.
    pub length: u64,
    /// Less is kept than came.
    pub cut: bool,
}

impl Query {
    /// Keeps at most `most` bytes of `text`, which is what is there of a statement `length` bytes long.
    pub fn new(text: &[u8], length: u64, most: usize, show_secrets: bool) -> Query {
        let kept = &text[..text.len().min(most)];
        let cut = length > kept.len() as u64;
        Query { text: if show_secrets { kept.to_vec() } else { sql::masked(kept) }, length, cut }
    }
}

/// A column, as it decides how a value is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: Vec<u8>,
    pub kind: Kind,
}

/// A prepared statement.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    pub query: Arc<Query>,
    /// How many parameters it has.
    pub parameters: u16,
    /// Their types, once an execution has told them.
    pub kinds: Vec<Kind>,
    /// Parameters whose values were sent as long data since the last execution.
    pub long: HashSet<u16>,
    /// Its columns, where they are known.
    pub columns: Arc<Vec<Column>>,
}

impl Statement {
    fn size(&self) -> usize {
        let columns: usize = self.columns.iter().map(|column| column.name.len() + 8).sum();
        self.query.text.len() + columns + 2 * self.kinds.len() + 8 * self.long.len() + 64
    }
}

/// All of one connection.
#[derive(Debug, Default)]
pub struct Statements {
    by_id: HashMap<u32, Statement>,
    bytes: usize,
    /// The text of the last that was prepared.
    last: Option<Arc<Query>>,
    /// Its number, once the server has told it.
    last_id: Option<u32>,
}

impl Statements {
    /// A client asks to prepare a statement.
    pub fn preparing(&mut self, query: Arc<Query>) {
        (self.last, self.last_id) = (Some(query), None);
    }

    /// A server has prepared a statement. False where there was no room to remember it.
    pub fn prepared(&mut self, id: u32, statement: Statement) -> bool {
        self.close(id);
        if self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, &statement.query)) {
            self.last_id = Some(id);
        }
        self.insert(id, statement)
    }

    fn insert(&mut self, id: u32, statement: Statement) -> bool {
        let size = statement.size();
        let has_room = self.by_id.len() < STATEMENTS_MAX && self.bytes + size <= BYTES_MAX;
        if has_room {
            self.bytes += size;
            self.by_id.insert(id, statement);
        }
        has_room
    }

    /// What is known of a statement.
    pub fn get(&self, id: u32) -> Option<&Statement> {
        self.by_id.get(&self.number(id))
    }

    /// The text of a statement.
    pub fn query(&self, id: u32) -> Option<Arc<Query>> {
        match self.get(id) {
            Some(statement) => Some(statement.query.clone()),
            None if id == LAST => self.last.clone(),
            None => None,
        }
    }

    fn number(&self, id: u32) -> u32 {
        if id == LAST { self.last_id.unwrap_or(LAST) } else { id }
    }

    /// Changes what is known of a statement. One that was not known is from now on, but for its text.
    pub fn update(&mut self, id: u32, change: impl FnOnce(&mut Statement)) {
        let id = self.number(id);
        if let Some(mut statement) = self.remove(id) {
            change(&mut statement);
            self.insert(id, statement);
        }
    }

    /// A statement is gone.
    pub fn close(&mut self, id: u32) {
        self.remove(self.number(id));
    }

    fn remove(&mut self, id: u32) -> Option<Statement> {
        let statement = self.by_id.remove(&id)?;
        self.bytes -= statement.size();
        Some(statement)
    }

    /// All statements are gone: the connection was reset.
    pub fn clear(&mut self) {
        *self = Statements::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> Statement {
        let query = Arc::new(Query::new(text.as_bytes(), text.len() as u64, 1000, false));
        Statement { query, ..Statement::default() }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_closed_makes_room() {
        let mut all = Statements::default();
        let long = "x".repeat(900);
        let mut id = 0;
        while all.prepared(id, statement(&long)) {
            id += 1;
        }
        assert_eq!(id as usize, STATEMENTS_MAX);
        all.close(0);
        assert!(all.prepared(id, statement(&long)));
        all.close(id);
        let huge = Query { text: vec![b'x'; BYTES_MAX], ..Query::default() };
        assert!(!all.prepared(id, Statement { query: Arc::new(huge), ..Statement::default() }));
        all.clear();
        assert_eq!((all.bytes, all.get(1).is_none()), (0, true));
    }

    #[test]
    fn the_last_statement_has_a_text_before_it_has_a_number() {
        let mut all = Statements::default();
        let prepared = statement("SELECT 1");
        all.preparing(prepared.query.clone());
        assert_eq!(all.query(LAST), Some(prepared.query.clone()));
        all.prepared(7, prepared);
        all.update(LAST, |statement| statement.parameters = 3);
        assert_eq!(all.get(7).map(|statement| statement.parameters), Some(3));
    }
}
