//! The program at the network card: packets, a model of the parser, and what a test needs.
