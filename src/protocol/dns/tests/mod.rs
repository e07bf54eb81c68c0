//! Conversations written by hand from the RFCs.
