//! Statements: what is shown of them, passwords masked, and those that were prepared.

use super::read::Column;
use std::collections::VecDeque;

/// How many characters of a statement a summary shows.
const BRIEF_MAX: usize = 200;

/// How many bytes of a statement are shown at least, and remembered of one that is prepared.
const STATEMENT_MAX: usize = 4096;

/// How many prepared statements of one connection are remembered.
const PREPARED_MAX: usize = 1024;

/// How many bytes all of them may take, about.
const PREPARED_BYTES_MAX: usize = 4 << 20;

/// What a column takes besides its name and type.
const COLUMN_COST: usize = 64;

/// A statement as it is shown: passwords masked, and whether it is all of it.
pub fn shown(statement: &[u8], max_field: usize, show_secrets: bool) -> (String, bool) {
    let most = statement.len().min(max_field.max(STATEMENT_MAX));
    let text = String::from_utf8_lossy(&statement[..most]).into_owned();
    let text = if show_secrets { text } else { masked(&text) };
    (text, most == statement.len())
}

/// A statement on one line.
pub fn brief(statement: &str) -> String {
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(BRIEF_MAX) {
        Some((end, _)) => format!("{}\u{2026}", &line[..end]),
        None => line,
    }
}

/// Masks what stands in quotes behind `PASSWORD` (`CREATE ROLE ... WITH PASSWORD = '...'`, `CREATE USER ... WITH PASSWORD
/// '...'`).
fn masked(statement: &str) -> String {
    let lower = statement.to_ascii_lowercase();
    let mut out = String::with_capacity(statement.len());
    let mut at = 0;
    while let Some(found) = lower[at..].find("password") {
        let end = at + found + "password".len();
        out.push_str(&statement[at..end]);
        at = end;
        let rest = &statement[at..];
        let quote = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
        let begin = at + (rest.len() - quote.len());
        let Some(secret) = quote.strip_prefix('\'') else { continue };
        // A quote within is written twice.
        let mut length = 0;
        loop {
            match secret[length..].find('\'') {
                Some(next) if secret[length + next + 1..].starts_with('\'') => length += next + 2,
                Some(next) => break length += next + 1,
                None => break length = secret.len(),
            }
        }
        out.push_str(&statement[at..begin]);
        out.push_str("'***'");
        at = begin + 1 + length;
    }
    out.push_str(&statement[at..]);
    out
}

/// A statement that was prepared.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// What EXECUTE calls it by.
    pub id: Vec<u8>,
    /// Its text, as it is shown; absent where it was prepared out of view.
    pub statement: Option<String>,
    /// What it is given.
    pub variables: Vec<Column>,
    /// What it gives.
    pub columns: Vec<Column>,
}

impl Prepared {
    /// How many bytes it takes, about.
    fn size(&self) -> usize {
        let columns = self.variables.iter().chain(&self.columns);
        let columns = columns.map(|column| COLUMN_COST + column.name.len() + column.kind.text.len());
        self.id.len() + self.statement.as_ref().map_or(0, String::len) + columns.sum::<usize>()
    }
}

/// Those of one connection.
#[derive(Debug, Default)]
pub struct Statements {
    /// Oldest first.
    prepared: VecDeque<Prepared>,
    bytes: usize,
}

impl Statements {
    pub fn get(&self, id: &[u8]) -> Option<&Prepared> {
        self.prepared.iter().rev().find(|one| one.id == id)
    }

    /// Takes the place of an older one with the same id. At the bounds the oldest are forgotten.
    pub fn add(&mut self, prepared: Prepared) {
        if let Some(at) = self.prepared.iter().position(|one| one.id == prepared.id)
            && let Some(older) = self.prepared.remove(at)
        {
            self.bytes -= older.size();
        }
        self.bytes += prepared.size();
        self.prepared.push_back(prepared);
        while self.prepared.len() > PREPARED_MAX || self.bytes > PREPARED_BYTES_MAX {
            let Some(oldest) = self.prepared.pop_front() else { break };
            self.bytes -= oldest.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(statement: &str, expected: &str) {
        assert_eq!(shown(statement.as_bytes(), 0, false), (expected.to_owned(), true));
    }

    #[test]
    fn passwords_are_masked() {
        check(
            "CREATE ROLE a WITH PASSWORD = 'x' AND LOGIN = true",
            "CREATE ROLE a WITH PASSWORD = '***' AND LOGIN = true",
        );
        check("alter user a with password 'it''s'", "alter user a with password '***'");
        check("ALTER USER a WITH HASHED PASSWORD='$2a", "ALTER USER a WITH HASHED PASSWORD='***'");
        check("SELECT password FROM t WHERE \u{130} = 'x'", "SELECT password FROM t WHERE \u{130} = 'x'");
        assert_eq!(shown(b"PASSWORD 'x'", 0, true).0, "PASSWORD 'x'");
    }

    #[test]
    fn statements_are_forgotten_at_the_bound() {
        let mut statements = Statements::default();
        for n in 0..=PREPARED_MAX {
            statements.add(Prepared { id: n.to_be_bytes().to_vec(), ..Prepared::default() });
        }
        assert!(statements.get(&0usize.to_be_bytes()).is_none());
        assert!(statements.get(&1usize.to_be_bytes()).is_some());
        let large =
            |id: u8| Prepared { id: vec![id], statement: Some("x".repeat(3 << 20)), ..Prepared::default() };
        statements.add(large(1));
        statements.add(large(2));
        assert!(statements.get(&[1]).is_none() && statements.get(&[2]).is_some());
        // In the place of itself it takes no more.
        statements.add(large(2));
        assert!(statements.get(&[2]).is_some());
    }
}
