/// The rows for people and for programs.
enum Report {
  static func json(_ rows: [Row], _ latencies: [Latency]) -> String {
    let lines = rows.map { row in
      """
      {"shape":"\(row.shape)","routes":\(row.routes),"pattern":"\(row.pattern)",\
      "nanoseconds":\(rounded(row.nanoseconds)),"image_bytes":\(row.imageBytes),\
      "compile_milliseconds":\(rounded(row.compileMilliseconds))}
      """
    }
    let reads = latencies.map { read in
      #"{"bytes":\#(read.bytes),"nanoseconds":\#(rounded(read.dense)),"paced_nanoseconds":\#(rounded(read.paced))}"#
    }
    return """
      {"rows":[\(lines.joined(separator: ",\n"))],
      "dependent_reads":[\(reads.joined(separator: ","))]}
      """
  }

  static func markdown(_ rows: [Row], _ latencies: [Latency]) -> String {
    var lines = [
      "| shape | routes | uniform | zipf | image, bytes a route | compiled in |", "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows where row.pattern == .uniform {
      let other = rows.first { $0.shape == row.shape && $0.routes == row.routes && $0.pattern == .zipf }
      lines.append(
        "| \(row.shape) | \(row.routes) | \(rounded(row.nanoseconds)) ns | \(rounded(other?.nanoseconds ?? 0)) ns "
          + "| \(row.imageBytes / row.routes) | \(rounded(row.compileMilliseconds)) ms |")
    }
    lines += ["", "| dependent random reads over | each | between requests |", "|---:|---:|---:|"]
    lines += latencies.map { "| \($0.bytes >> 10) KiB | \(rounded($0.dense)) ns | \(rounded($0.paced)) ns |" }
    return lines.joined(separator: "\n")
  }

  /// One digit behind the point.
  private static func rounded(_ number: Double) -> String {
    let tenths = Int((number * 10).rounded())
    return "\(tenths / 10).\(abs(tenths % 10))"
  }
}
