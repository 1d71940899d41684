package pgx

import (
	"context"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// wire is one physical connection to a server, and its state.
type wire struct {
	pg     *pgx.Conn
	server *server // nil before the first group
	failed bool    // the last transaction failed and is still to be rolled back
	ended  bool    // the connection is of no more use
}

func (w *wire) Idle() bool { return !w.pg.IsClosed() && w.pg.PgConn().TxStatus() == 'I' }

// rollback ends a transaction that failed, if there is one.
func (w *wire) rollback(ctx context.Context) error {
	if !w.failed {
		return nil
	}
	_, err := w.pg.PgConn().Exec(ctx, "ROLLBACK").ReadAll()
	w.failed, w.ended = false, w.ended || err != nil
	return err
}

// abort ends the transaction, if there is one. A connection that cannot do it is closed.
func (w *wire) abort(ctx context.Context) error {
	if w.pg.IsClosed() || w.Idle() {
		return nil
	}
	_, err := w.text(ctx, "ROLLBACK")
	if err != nil {
		w.pg.Close(ctx)
	}
	return err
}

// text runs statements by the simple protocol, and returns the command tag of the last one.
func (w *wire) text(ctx context.Context, statements string) (pgconn.CommandTag, error) {
	return w.pg.Exec(ctx, statements, pgx.QueryExecModeSimpleProtocol)
}

// ask executes a query of ours, and returns the one row of its answer, as text. It goes past pgx's tracer, which is the
// program's: that may need what only the context of a caller has, and sees nothing of a group.
func (w *wire) ask(ctx context.Context, query string) (row [][]byte, err error) {
	results, err := w.pg.PgConn().Exec(ctx, query).ReadAll()
	if err != nil {
		return nil, err
	}
	return results[0].Rows[0], nil
}

// itself is the condition that means this connection's process. It is "" where a pooler may have given the process to
// another client.
func (w *wire) itself() string {
	if !w.direct() {
		return ""
	}
	return "pid = " + w.server.pid + " AND " + micros("backend_start") + " = " + w.server.born
}

// direct reports that the connection has a process of the server for itself: the server and the peer that answered the
// connection agree on its pid. A pooler tells another pid, which its own cancel requests use.
func (w *wire) direct() bool {
	return w.server.born != "" && w.server.pid == strconv.FormatUint(uint64(w.pg.PgConn().PID()), 10)
}

// peer names the other end of the connection; "" if it has no name.
func (w *wire) peer() string {
	if peer := w.pg.PgConn().Conn().RemoteAddr(); peer != nil {
		return peer.Network() + " " + peer.String()
	}
	return ""
}

// wayTo is the configuration for another connection. same leads to the same server, whatever other hosts the configuration
// has. Where the program makes connections in its own way, only the configuration without same may work.
func (w *wire) wayTo(same bool) *pgconn.Config {
	way := w.pg.Config().Config
	way.AfterConnect = nil
	peer := w.pg.PgConn().Conn().RemoteAddr()
	if !same || peer == nil || peer.Network() != "tcp" {
		return &way
	}
	network, address, dial := peer.Network(), peer.String(), way.DialFunc
	way.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	way.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, network, address) }
	return &way
}
