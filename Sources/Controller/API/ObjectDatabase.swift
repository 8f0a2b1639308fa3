import Foundation
import GRDB

/// The SQLite file behind the store: one row an object, one row for each configuration that a field manager
/// applied. It knows bytes only; what they mean is the store's.
struct ObjectDatabase: Sendable {
  /// Identifies an object: the kind's plural and group, as in "gateways.gateway.networking.k8s.io".
  struct RowKey: Hashable, Sendable {
    var resource: String
    var namespace: String
    var name: String
  }

  struct Row: Sendable {
    var key: RowKey
    var resourceVersion: UInt64
    /// The object as JSON.
    var body: [UInt8]
    /// By field manager: the configuration that it applied last, as JSON.
    var applied: [String: [UInt8]]
  }

  enum Change: Sendable {
    case put(Row)
    case remove(RowKey)
  }

  private let queue: DatabaseQueue

  /// Opens or makes the file. Nil path: in memory, for tests.
  init(path: String?) throws {
    var configuration = Configuration()
    configuration.prepareDatabase { database in
      // A power cut may lose the last moments, never the file's integrity.
      try database.execute(sql: "PRAGMA journal_mode = WAL")
      try database.execute(sql: "PRAGMA synchronous = NORMAL")
    }
    if let path {
      queue = try DatabaseQueue(path: path, configuration: configuration)
    } else {
      queue = try DatabaseQueue(configuration: configuration)
    }
    try Self.migrations.migrate(queue)
  }

  private static var migrations: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("1: objects") { database in
      try database.execute(
        sql: """
          CREATE TABLE object (
            resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
            resourceVersion INTEGER NOT NULL, body BLOB NOT NULL,
            PRIMARY KEY (resource, namespace, name)) WITHOUT ROWID;
          CREATE TABLE applied (
            resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, manager TEXT NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (resource, namespace, name, manager),
            FOREIGN KEY (resource, namespace, name) REFERENCES object ON DELETE CASCADE) WITHOUT ROWID;
          CREATE TABLE revision (id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER NOT NULL);
          INSERT INTO revision VALUES (1, 0);
          """)
    }
    return migrator
  }

  /// Everything, with the last resource version that was given out.
  func load() throws -> (rows: [Row], lastResourceVersion: UInt64) {
    try queue.read { database in
      let last = try Int64.fetchOne(database, sql: "SELECT last FROM revision") ?? 0
      var applied: [RowKey: [String: [UInt8]]] = [:]
      let configurations = try GRDB.Row.fetchCursor(
        database, sql: "SELECT resource, namespace, name, manager, body FROM applied")
      while let row = try configurations.next() {
        applied[key(row), default: [:]][row["manager"]] = bytes(row)
      }
      var rows: [Row] = []
      let objects = try GRDB.Row.fetchCursor(
        database, sql: "SELECT resource, namespace, name, resourceVersion, body FROM object")
      while let row = try objects.next() {
        let version: Int64 = row["resourceVersion"]
        rows.append(
          Row(
            key: key(row), resourceVersion: UInt64(clamping: version), body: bytes(row),
            applied: applied[key(row)] ?? [:]))
      }
      return (rows, UInt64(clamping: last))
    }
  }

  /// All of the changes or, on an error, none.
  func write(_ changes: [Change], lastResourceVersion: UInt64) throws {
    try queue.write { database in
      for change in changes {
        switch change {
        case .put(let row): try put(row, database)
        case .remove(let key):
          try database.execute(
            sql: "DELETE FROM object WHERE resource = ? AND namespace = ? AND name = ?",
            arguments: [key.resource, key.namespace, key.name])
        }
      }
      try database.execute(
        sql: "UPDATE revision SET last = ?", arguments: [Int64(clamping: lastResourceVersion)])
    }
  }

  private func put(_ row: Row, _ database: Database) throws {
    let key = row.key
    try database.cachedStatement(
      sql: """
        INSERT INTO object VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
        resourceVersion = excluded.resourceVersion, body = excluded.body
        """
    ).execute(
      arguments: [
        key.resource, key.namespace, key.name, Int64(clamping: row.resourceVersion), Data(row.body),
      ])
    try database.cachedStatement(
      sql: "DELETE FROM applied WHERE resource = ? AND namespace = ? AND name = ?"
    ).execute(arguments: [key.resource, key.namespace, key.name])
    for (manager, body) in row.applied {
      try database.cachedStatement(sql: "INSERT INTO applied VALUES (?, ?, ?, ?, ?)").execute(
        arguments: [key.resource, key.namespace, key.name, manager, Data(body)])
    }
  }

  private func key(_ row: GRDB.Row) -> RowKey {
    RowKey(resource: row["resource"], namespace: row["namespace"], name: row["name"])
  }

  private func bytes(_ row: GRDB.Row) -> [UInt8] {
    let data: Data = row["body"]
    return Array(data)
  }
}
