//! The parser under whole conversations, written by hand from the specification.
