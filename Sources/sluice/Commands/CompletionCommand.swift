import ArgumentParser

struct CompletionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "completion",
    abstract: "Print a completion script for a shell.",
    discussion: """
      Examples:
        sluice completion bash > /etc/bash_completion.d/sluice
        sluice completion zsh > ~/.zfunc/_sluice
        sluice completion fish > ~/.config/fish/completions/sluice.fish
      """)

  enum Shell: String, ExpressibleByArgument, CaseIterable {
    case bash, zsh, fish

    var argument: CompletionShell {
      switch self {
      case .bash: .bash
      case .zsh: .zsh
      case .fish: .fish
      }
    }
  }

  @Argument(help: "bash, zsh or fish.") var shell: Shell

  func run() {
    Terminal.print(Sluice.completionScript(for: shell.argument))
  }
}
