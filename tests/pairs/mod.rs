//! Pairs of files, a recording and a capture of the same connections, damaged, and what a comparison has to say of them.

pub mod case;
pub mod compare;
pub mod damage;
pub mod datagrams;
pub mod oracle;
pub mod packets;
pub mod pair;
pub mod ranges;
