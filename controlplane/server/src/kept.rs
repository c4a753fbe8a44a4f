//! The compiler that is kept from one revision to the next.
//!
//! Most policies and tools stay as they are, and so does what Cedar's validator said of them. Whoever
//! comes while it is in use compiles from nothing: nobody waits for another's compilation.

use std::sync::{Mutex, TryLockError};

use controlplane_compile::Compiler;

/// Shared by all who compile.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Compiler>);

impl Kept {
    /// Does the work with the kept compiler, or with a new one.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Compiler) -> T) -> T {
        let mut compiler = match self.0.try_lock() {
            Ok(compiler) => compiler,
            Err(TryLockError::WouldBlock) => return work(&mut Compiler::default()),
            // What it had learnt when it failed is not trusted.
            Err(TryLockError::Poisoned(poisoned)) => {
                let mut compiler = poisoned.into_inner();
                *compiler = Compiler::default();
                self.0.clear_poison();
                compiler
            }
        };
        let done = work(&mut compiler);
        compiler.slim();
        done
    }
}
