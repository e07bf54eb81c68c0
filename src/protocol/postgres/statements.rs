//! What a connection has prepared and bound: from the names of statements and portals to SQL and parameters.
//!
//! A Parse or Bind that was not seen (it came before the trace, or was lost) leaves its name unknown; the unnamed
//! statement of after a loss is never taken for the one of before it.

use super::sql;
use crate::record::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// How many statements of a connection are remembered, and how many portals.
pub const NAMES_MAX: usize = 4096;

/// How many bytes of all statements of a connection are remembered.
pub const BYTES_MAX: usize = 4 << 20;

/// The longest name that is remembered.
const NAME_MAX: usize = 1024;

/// A statement's text, passwords masked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// What is kept of it.
    pub text: Vec<u8>,
    /// How long it is; absent where its end was not seen.
    pub length: Option<u64>,
    /// Less is kept than came.
    pub cut: bool,
}

impl Query {
    /// Keeps at most `most` bytes of `text`, which is what is there of a statement `length` bytes long.
    pub fn new(text: &[u8], length: Option<u64>, most: usize, show_secrets: bool) -> Query {
        let kept = &text[..text.len().min(most)];
        let cut = length.is_none_or(|length| length > kept.len() as u64);
        Query { text: if show_secrets { kept.to_vec() } else { sql::masked(kept) }, length, cut }
    }
}

/// A prepared statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Its text.
    pub query: Arc<Query>,
    /// The numbers of its parameters' types, as far as they are known; 0 leaves one to the server.
    pub types: Vec<u32>,
    /// Nothing was lost since that could have changed it.
    pub sure: bool,
}

/// Parameters of one execution, as they are shown.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// For a field, where fields are wanted.
    pub values: Vec<Value>,
    /// For the summary.
    pub briefs: Vec<String>,
    /// How many there are.
    pub count: u64,
    /// Values are shown in part.
    pub cut: bool,
}

/// A statement with its parameters.
#[derive(Clone, Debug)]
pub struct Portal {
    /// Absent where it is not known.
    pub statement: Option<Statement>,
    /// The statement's name.
    pub name: Vec<u8>,
    /// The parameters.
    pub bound: Arc<Bound>,
}

/// All of one connection.
#[derive(Debug, Default)]
pub struct Tables {
    statements: HashMap<Vec<u8>, Statement>,
    portals: HashMap<Vec<u8>, Portal>,
    bytes: usize,
}

impl Tables {
    /// A statement was prepared. False where there was no room to remember it.
    pub fn parse(&mut self, name: &[u8], query: Arc<Query>, types: Vec<u32>) -> bool {
        self.close_statement(name);
        let size = query.text.len() + name.len();
        let has_room = self.statements.len() < NAMES_MAX && self.bytes + size <= BYTES_MAX;
        if name.len() > NAME_MAX || !has_room {
            return false;
        }
        self.bytes += size;
        self.statements.insert(name.to_vec(), Statement { query, types, sure: true });
        true
    }

    /// The server told the types of a statement's parameters.
    pub fn describe(&mut self, name: &[u8], types: Vec<u32>) {
        if let Some(statement) = self.statements.get_mut(name) {
            statement.types = types;
        }
    }

    /// A portal was made. Portals live no longer than a transaction, so at the bound the old ones are forgotten.
    pub fn bind(&mut self, name: &[u8], portal: Portal) {
        if self.portals.len() >= NAMES_MAX && !self.portals.contains_key(name) {
            self.portals.clear();
        }
        if name.len() <= NAME_MAX {
            self.portals.insert(name.to_vec(), portal);
        }
    }

    /// A statement is gone.
    pub fn close_statement(&mut self, name: &[u8]) {
        if let Some(statement) = self.statements.remove(name) {
            self.bytes -= statement.query.text.len() + name.len();
        }
    }

    /// A portal is gone.
    pub fn close_portal(&mut self, name: &[u8]) {
        self.portals.remove(name);
    }

    /// A Query message replaces the unnamed statement and portal.
    pub fn close_unnamed(&mut self) {
        self.close_statement(b"");
        self.close_portal(b"");
    }

    /// Messages were lost that could have prepared and closed anything. Drivers give each statement a new name, so what
    /// has one most likely still is what it was; but that is not certain.
    pub fn lose(&mut self) {
        self.close_unnamed();
        self.portals.clear();
        self.statements.values_mut().for_each(|statement| statement.sure = false);
    }

    /// The statement of this name.
    pub fn statement(&self, name: &[u8]) -> Option<&Statement> {
        self.statements.get(name)
    }

    /// The portal of this name.
    pub fn portal(&self, name: &[u8]) -> Option<&Portal> {
        self.portals.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Arc<Query> {
        Arc::new(Query::new(text.as_bytes(), Some(text.len() as u64), 1000, false))
    }

    #[test]
    fn a_loss_leaves_named_statements_uncertain_and_the_unnamed_unknown() {
        let mut tables = Tables::default();
        assert!(tables.parse(b"", query("SELECT 1"), Vec::new()));
        assert!(tables.parse(b"a", query("SELECT 2"), Vec::new()));
        tables.lose();
        assert!(tables.statement(b"").is_none());
        assert!(!tables.statement(b"a").unwrap().sure);
        assert!(tables.parse(b"a", query("SELECT 3"), Vec::new()));
        assert!(tables.statement(b"a").unwrap().sure);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_closed_makes_room() {
        let mut tables = Tables::default();
        let long = query(&"x".repeat(1000));
        let mut names = 0;
        while tables.parse(&[b's', (names >> 8) as u8, names as u8], long.clone(), Vec::new()) {
            names += 1;
        }
        assert_eq!(names, NAMES_MAX);
        tables.close_statement(&[b's', 0, 0]);
        assert!(tables.parse(b"t", long.clone(), Vec::new()));
        let huge = Arc::new(Query { text: vec![b'x'; BYTES_MAX], ..Query::default() });
        tables.close_statement(b"t");
        assert!(!tables.parse(b"u", huge, Vec::new()));
        assert!(!tables.parse(&[b'n'; NAME_MAX + 1], query("a"), Vec::new()));
    }
}
