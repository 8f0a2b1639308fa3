extension PoolTable {
  // MARK: Checks of what callers give

  func check(connection: Int32) {
    precondition(connection >= 0 && Int(connection) < maxConnections, "connection out of range")
  }

  func check(endpoint: Int32) {
    precondition(endpoint >= 0 && Int(endpoint) < endpointCapacity, "endpoint slot out of range")
  }

  func check(_ connection: Int32, _ endpoint: Int32) {
    check(connection: connection)
    check(endpoint: endpoint)
  }

  func checkShared(_ connection: Int32) {
    check(connection: connection)
    precondition(unsafe connections[Int(connection)].isShared, "connection is not shared")
  }

  // MARK: The endpoint's idle list

  mutating func linkIdle(_ connection: Int32, _ now: UInt64) {
    let endpoint = Int(unsafe connections[Int(connection)].endpoint)
    let head = unsafe endpoints[endpoint].idleHead
    unsafe connections[Int(connection)].next = head
    unsafe connections[Int(connection)].previous = -1
    if head >= 0 {
      unsafe connections[Int(head)].previous = connection
    } else {
      unsafe endpoints[endpoint].idleTail = connection
    }
    unsafe endpoints[endpoint].idleHead = connection
    unsafe endpoints[endpoint].idleCount &+= 1
    linkResting(connection, now)
  }

  mutating func unlinkIdle(_ connection: Int32) {
    let record = unsafe connections[Int(connection)]
    let endpoint = Int(record.endpoint)
    if record.next >= 0 {
      unsafe connections[Int(record.next)].previous = record.previous
    } else {
      unsafe endpoints[endpoint].idleTail = record.previous
    }
    if record.previous >= 0 {
      unsafe connections[Int(record.previous)].next = record.next
    } else {
      unsafe endpoints[endpoint].idleHead = record.next
    }
    unsafe endpoints[endpoint].idleCount &-= 1
    unlinkResting(connection)
  }

  // MARK: The endpoint's list of shared connections with room

  /// Puts a shared connection where its number of streams says; new ones and those that were full
  /// go to the end, so that the first fills up before the next is used.
  mutating func placeShared(_ connection: Int32) {
    let record = unsafe connections[Int(connection)]
    if record.state == .draining { return }
    let hasRoom = record.streams < record.limit
    if hasRoom == (record.state == .open) {
      if !hasRoom { unsafe connections[Int(connection)].state = .full }
      return
    }
    guard hasRoom else {
      unlinkOpen(connection)
      unsafe connections[Int(connection)].state = .full
      return
    }
    let endpoint = Int(record.endpoint)
    let tail = unsafe endpoints[endpoint].openTail
    unsafe connections[Int(connection)].previous = tail
    unsafe connections[Int(connection)].next = -1
    if tail >= 0 {
      unsafe connections[Int(tail)].next = connection
    } else {
      unsafe endpoints[endpoint].openHead = connection
    }
    unsafe endpoints[endpoint].openTail = connection
    unsafe connections[Int(connection)].state = .open
  }

  mutating func unlinkOpen(_ connection: Int32) {
    let record = unsafe connections[Int(connection)]
    guard record.state == .open else { return }
    let endpoint = Int(record.endpoint)
    if record.next >= 0 {
      unsafe connections[Int(record.next)].previous = record.previous
    } else {
      unsafe endpoints[endpoint].openTail = record.previous
    }
    if record.previous >= 0 {
      unsafe connections[Int(record.previous)].next = record.next
    } else {
      unsafe endpoints[endpoint].openHead = record.next
    }
    unsafe connections[Int(connection)].state = .full
  }

  // MARK: All that carry nothing, oldest first

  mutating func linkResting(_ connection: Int32, _ now: UInt64) {
    // A clock that a caller reads late must not break the order.
    let since = youngest < 0 ? now : max(now, unsafe connections[Int(youngest)].restingSince)
    unsafe connections[Int(connection)].restingSince = since
    unsafe connections[Int(connection)].isResting = true
    unsafe connections[Int(connection)].older = youngest
    unsafe connections[Int(connection)].younger = -1
    if youngest >= 0 {
      unsafe connections[Int(youngest)].younger = connection
    } else {
      oldest = connection
    }
    youngest = connection
    let endpoint = Int(unsafe connections[Int(connection)].endpoint)
    unsafe endpoints[endpoint].restingCount &+= 1
  }

  mutating func unlinkResting(_ connection: Int32) {
    let record = unsafe connections[Int(connection)]
    guard record.isResting else { return }
    if record.younger >= 0 {
      unsafe connections[Int(record.younger)].older = record.older
    } else {
      youngest = record.older
    }
    if record.older >= 0 {
      unsafe connections[Int(record.older)].younger = record.younger
    } else {
      oldest = record.younger
    }
    unsafe connections[Int(connection)].isResting = false
    unsafe endpoints[Int(record.endpoint)].restingCount &-= 1
  }

  // MARK: Invariants

  /// Nil when every list and count agrees with the connections; else what does not. For tests: it
  /// walks over everything.
  public func checkInvariants() -> String? {
    var known = 0, resting = 0
    for index in 0..<maxConnections {
      let c = unsafe connections[index]
      if c.state == .unknown {
        if c.endpoint != -1 || c.isResting { return "unknown connection \(index) is listed" }
        continue
      }
      known += 1
      if c.isResting { resting += 1 }
      let hasEndpoint = c.endpoint >= 0 && Int(c.endpoint) < endpointCapacity
      if !hasEndpoint { return "connection \(index) without endpoint" }
      let stateIsShared = c.state != .leased && c.state != .idle
      if c.isShared != stateIsShared { return "connection \(index): kind and state" }
      if c.state == .open, c.streams >= c.limit { return "connection \(index) is open and full" }
      if c.state == .full, c.streams < c.limit { return "connection \(index) is full and open" }
      let carriesNothing = c.state == .idle || c.isShared && c.streams == 0 && c.state != .draining
      if c.isResting != carriesNothing { return "connection \(index): resting is \(c.isResting)" }
    }
    if known != connectionCount { return "\(known) connections, counted \(connectionCount)" }
    var walked = 0, at = oldest, before: Int32 = -1, time: UInt64 = 0
    while at >= 0 {
      let c = unsafe connections[Int(at)]
      if c.older != before || c.restingSince < time || walked > resting { return "resting list at \(at)" }
      (before, time, at) = (at, c.restingSince, c.younger)
      walked += 1
    }
    if walked != resting || youngest != before { return "resting list has \(walked) of \(resting)" }
    for endpoint in 0..<endpointCapacity {
      if let fault = checkEndpoint(Int32(endpoint)) { return "endpoint \(endpoint): \(fault)" }
    }
    return nil
  }

  private func checkEndpoint(_ endpoint: Int32) -> String? {
    let e = unsafe endpoints[Int(endpoint)]
    var sum = Endpoint()
    var open = 0
    for index in 0..<maxConnections where unsafe connections[index].endpoint == endpoint {
      let c = unsafe connections[index]
      sum.connections += 1
      sum.streams += c.streams
      if c.state == .leased { sum.leased += 1 }
      if c.state == .idle { sum.idleCount += 1 }
      if c.isResting { sum.restingCount += 1 }
      if c.state == .open { open += 1 }
    }
    if sum.connections != e.connections || sum.streams != e.streams || sum.leased != e.leased
      || sum.idleCount != e.idleCount || sum.restingCount != e.restingCount
    {
      return "counts are \(e), should be \(sum)"
    }
    if e.idleCount > maxIdlePerEndpoint { return "too many idle" }
    if walk(e.idleHead, e.idleTail, .idle) != Int(e.idleCount) { return "idle list" }
    if walk(e.openHead, e.openTail, .open) != open { return "open list" }
    return nil
  }

  /// The length of a sound list; -1: it is not.
  private func walk(_ head: Int32, _ tail: Int32, _ state: State) -> Int {
    var at = head, before: Int32 = -1, n = 0
    while at >= 0 {
      let c = unsafe connections[Int(at)]
      if c.state != state || c.previous != before || n > maxConnections { return -1 }
      (before, at) = (at, c.next)
      n += 1
    }
    return before == tail ? n : -1
  }
}
