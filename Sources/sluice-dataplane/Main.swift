import CLinux
import DataPlane
import Glibc

@main
struct Main {
  static func main() {
    // Before any thread: signals come through the main thread's loop, and a peer that is gone is an error code.
    clinux_block_signals()
    let arguments: DataPlaneArguments
    do throws(ArgumentError) {
      let debug = unsafe getenv("SLUICE_DEBUG").map { unsafe String(cString: $0) } ?? ""
      arguments = try DataPlaneArguments(Array(CommandLine.arguments.dropFirst()), debug: debug)
    } catch {
      printError("sluice-dataplane: \(error)\n")
      exit(2)
    }
    switch arguments.action {
    case .help: print(DataPlaneArguments.help, terminator: "")
    case .helpLimits: print(DataPlaneArguments.limitsHelp, terminator: "")
    case .version: print("sluice-dataplane 0.1.0")
    case .run: exit(DataPlaneProgram.run(arguments))
    }
  }

  private static func printError(_ text: String) {
    var text = text
    text.withUTF8 { bytes in _ = unsafe write(2, bytes.baseAddress, bytes.count) }
  }
}
