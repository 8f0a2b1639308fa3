import GatewayAPI
import YAML

/// Where the rules of one object stand in the file that they were applied from, for explanations and conditions.
/// An object that was read from a file knows; of one that came over the API `sluice apply` has noted it.
struct RulePlaces {
  /// Absolute path and line of the object: `sluice.dev/applied-from`.
  static let fileAnnotation = "sluice.dev/applied-from"
  /// Lines of `spec.rules`, or of `spec.http`, `spec.tls` and `spec.tcp` one after the other, with commas between them.
  static let linesAnnotation = "sluice.dev/rule-lines"

  private var file: String?
  /// Nil: each rule's own position counts.
  private var noted: [Int]?

  init(_ metadata: ObjectMeta, _ origin: SourceOrigin?) {
    if let file = origin?.file {
      self.file = file
    } else if let from = metadata.annotations[Self.fileAnnotation] {
      let colon = from.lastIndex(of: ":") ?? from.endIndex
      file = String(from[..<colon])
      noted = (metadata.annotations[Self.linesAnnotation] ?? "").split(separator: ",").map { Int($0) ?? 0 }
    }
  }

  /// ` (file:line)`, or what of it is known.
  func text(_ index: Int, _ position: SourcePosition) -> String {
    guard let file else { return "" }
    let line: Int
    if let noted { line = index < noted.count ? noted[index] : 0 } else { line = position.isKnown ? position.line : 0 }
    return line > 0 ? " (\(file):\(line))" : " (\(file))"
  }
}
