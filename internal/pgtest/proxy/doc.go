// Package proxy puts faults between a PostgreSQL client and its server.
//
// A Proxy passes connections on and takes the stream of each apart into the protocol's messages. A test tells it, for
// each message, what to do with it: pass it, delay it, drop it, cut the connection before or after it, or let no answer
// through any more. The lost acknowledgement of a commit, for example:
//
//	p, err := proxy.New(server.Addr())
//	p.OnClient(func(m proxy.Message) proxy.Action {
//		if m.Commit {
//			return proxy.CutAfterForward // the server commits, the client never learns it
//		}
//		return proxy.Pass
//	})
//	db, err := sql.Open("pgx", pgtest.With(dsn, pgtest.Via(p.Addr())))
//
// A client's request for encryption is answered with no: the proxy must read the messages. So the DSN must not insist
// on TLS.
package proxy
