import ArgumentParser

@main
struct Sluice: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sluice",
    abstract: "A Gateway API proxy: run it, configure it, look into it.",
    discussion: """
      Examples:
        sluice run -f manifests/ --port-map 80=8080,443=8443
        sluice apply -f gateway.yaml
        sluice get httproutes -A -o wide
        sluice describe gateway/hoopgateway
        sluice port-forward gateway/hoopgateway 8080:80
        sluice explain -H 'x-team: blue' http://hoop.yourdomain.org/api/healthz

      Every command but run, validate, completion and version talks to the API that `sluice run` serves. It \
      is found by the kubeconfig: --kubeconfig, then $SLUICE_KUBECONFIG, then the one in the default data \
      directory.

      Exit codes: 0 done; 1 the operation failed or was refused; 2 an object or file is not valid, nothing \
      was changed; 3 the API cannot be reached; 4 the time ran out; 64 wrong usage.
      """,
    version: Version.text,
    subcommands: [
      RunCommand.self, ApplyCommand.self, DeleteCommand.self, GetCommand.self, DescribeCommand.self,
      ValidateCommand.self, WaitCommand.self, PortForwardCommand.self, ExplainCommand.self,
      CompletionCommand.self, VersionCommand.self,
    ])

  static func main() async {
    do {
      var command = try parseAsRoot()
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
    } catch let error as CommandError {
      Terminal.error("error: \(error.message)")
      exit(withError: ExitCode(error.exitCode))
    } catch {
      exit(withError: error)
    }
  }
}
