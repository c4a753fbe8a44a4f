//! Cedar to tables: checks, classes, specialisation, diff and explanation.
