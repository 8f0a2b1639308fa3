import ArgumentParser
import YAML

/// `-o`.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
  case table, wide, yaml, json, name

  static let list = "table, wide, yaml, json or name."
}

/// The one way in which commands show objects and tables.
struct Renderer {
  let format: OutputFormat

  /// An object as YAML or JSON (also for the table formats, which have no form for it).
  func print(_ node: Node) {
    if format == .json {
      Terminal.print(JSON.write(node, pretty: true))
    } else {
      let text = YAML.write(node)
      Terminal.print(text.hasSuffix("\n") ? String(text.dropLast()) : text)
    }
  }
}

/// Columns of text, as wide as their longest cell.
struct TextTable: Equatable {
  var header: [String]
  var rows: [[String]] = []

  static let gap = 3

  /// Without trailing spaces; `widths` of an earlier table keep a watch's columns where they were.
  func lines(showHeader: Bool = true, atLeast widths: [Int] = []) -> [String] {
    let all = showHeader ? [header] + rows : rows
    let needed = self.widths(atLeast: widths)
    return all.map { row in
      var line = ""
      for (index, cell) in row.enumerated() {
        line += cell
        let isLast = index == row.count - 1
        if !isLast { line += String(repeating: " ", count: max(0, needed[index] - cell.count) + Self.gap) }
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }

  func widths(atLeast: [Int] = []) -> [Int] {
    header.indices.map { index in
      let cells = rows.map { index < $0.count ? $0[index].count : 0 }
      let before = index < atLeast.count ? atLeast[index] : 0
      return max(header[index].count, cells.max() ?? 0, before)
    }
  }
}
