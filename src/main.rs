//! The `onefold` program: calls the command line and turns its answer into an exit code.

fn main() -> std::process::ExitCode {
    onefold::cli::main().into()
}
