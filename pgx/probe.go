package pgx

import (
	"context"
	"net"
	"time"
)

// probe asks the server for an answer if anything has come on the connection since the last one. A server that ends a
// connection says so, or closes it. What is written to a connection that is dead would be of unknown outcome; before that, it
// is certain that nothing was executed, and another connection may do.
//
// As a rule nothing has come. Then a look at the socket is all that the probe costs, and no round trip. A server that was heard
// of a moment ago is not looked for.
func (w *wire) probe(ctx context.Context, silent time.Duration) error {
	if silent < aMoment {
		return nil
	}
	pg := w.pg.PgConn()
	if pg.Frontend().ReadBufferLen() == 0 && quiet(pg.Conn()) {
		return nil
	}
	return pg.Ping(ctx)
}

// aMoment is longer than a group that follows another waits for its connection, and far shorter than the second after which pgx
// itself looks whether a connection still lives.
const aMoment = time.Millisecond

// quiet reports that nothing waits to be read on a connection. Where that cannot be seen, quiet says so, too: the plain
// driver does not look.
func quiet(conn net.Conn) bool {
	if tls, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = tls.NetConn()
	}
	return nothingToRead(conn)
}
