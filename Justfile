# The verbs of `cargo xtask`, for those who type `just`.

# List the verbs.
default:
    @cargo xtask --help

# Everything that must pass before a change lands.
test *ARGS:
    cargo xtask test {{ARGS}}

# Build and start the whole system and show it at work.
demo *ARGS:
    cargo xtask demo {{ARGS}}

# Load generator and comparison.
bench *ARGS:
    cargo xtask bench -- {{ARGS}}

# The pipeline under seeds.
sim *ARGS:
    cargo xtask sim {{ARGS}}

# The fuzz targets.
fuzz *ARGS:
    cargo xtask fuzz {{ARGS}}

# The network card's program on Debian's kernels, in QEMU.
kernels *ARGS:
    cargo xtask kernels {{ARGS}}

# Rewrite the golden files from what the code says now.
bless *ARGS:
    cargo xtask bless {{ARGS}}

# The repository's own test.
tidy *ARGS:
    cargo xtask tidy {{ARGS}}

# Build the documentation and run its examples.
docs:
    cargo xtask docs
