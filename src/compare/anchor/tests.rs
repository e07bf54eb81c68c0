//! Logs whose place in a flow is known, laid out again by content.

use super::*;
