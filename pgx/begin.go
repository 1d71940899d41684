package pgx

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"reflect"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// beginning is a transaction whose BEGIN travels with its first statement, in one write:
//
//	Close Parse Bind Execute Flush | what the driver sends
//
// The driver's own call sends the statement and reads its answer, so that rows, types and errors are the driver's. The part
// before the bar is put into the frontend's buffer, which the driver's call then writes. Close is of a portal that is not
// there, which is no error, and its answer is one that the driver skips, whatever it waits for. When that comes, the
// frontend's tracer, which is called in the middle of the driver's read, reads the answers to the others out of the way.
// The tracer would write out every argument that is sent. So it is set behind the write, by what the frontend writes to.
//
// There is no Sync between the two. If BEGIN fails, the server skips the statement, which must not run by itself. A text
// without arguments goes by the simple protocol, for which the server would not skip to the right place. Such a first
// statement comes behind a BEGIN of its own.
//
// Flush has the answer to BEGIN on its way before the statement is executed. So if the connection is lost without that answer,
// the statement was not executed, and the driver would have found the connection dead in its own BEGIN.
//
// Rejected: one text "BEGIN; ...", in which a syntax error comes before BEGIN, and the positions of errors are others.
// Rejected: a pipeline of our own. Its rows would not be the driver's.
type beginning struct {
	session *session
	ctx     context.Context // of Begin, for its end, as stdlib does
	text    string
	pending bool  // nothing was sent
	opened  bool  // the answers to the first statement are perhaps still being read
	begun   bool  // the server has said so
	failed  error // of BEGIN, behind the answer to Close

	out *io.Writer // where the frontend keeps what it writes to, for the time of one write
	way io.Writer  // what stood there
}

var (
	_ engine.Beginner  = (*session)(nil)
	_ engine.Beginning = (*beginning)(nil)
)

// BeginLater makes a session an engine.Beginner.
func (s *session) BeginLater(ctx context.Context, opts driver.TxOptions) engine.Beginning {
	if (s.simple || s.seen) || ctx.Err() != nil || !s.Idle() || s.pg.PgConn().IsBusy() {
		return nil
	}
	text, ok := beginText(opts)
	if f := s.pg.PgConn().Frontend(); !ok || isTraced(f) || outOf(f) == nil || isPrepared(s.pg, text) {
		return nil
	}
	s.later = &beginning{session: s, ctx: ctx, text: text, pending: true}
	return s.later
}

// beginText is the text that stdlib and pgx make of the options. False if they refuse them.
func beginText(opts driver.TxOptions) (text string, ok bool) {
	text = "begin"
	switch sql.IsolationLevel(opts.Isolation) {
	case sql.LevelDefault:
	case sql.LevelReadUncommitted:
		text += " isolation level " + string(pgx.ReadUncommitted)
	case sql.LevelReadCommitted:
		text += " isolation level " + string(pgx.ReadCommitted)
	case sql.LevelRepeatableRead, sql.LevelSnapshot:
		text += " isolation level " + string(pgx.RepeatableRead)
	case sql.LevelSerializable:
		text += " isolation level " + string(pgx.Serializable)
	default:
		return "", false
	}
	if opts.ReadOnly {
		text += " " + string(pgx.ReadOnly)
	}
	return text, true
}

// isTraced reports that the program traces the messages of a connection, and so is to see BEGIN where it was called. If that
// cannot be seen, it may be so.
func isTraced(f *pgproto3.Frontend) bool {
	tracer := reflect.ValueOf(f).Elem().FieldByName("tracer")
	return tracer.Kind() != reflect.Pointer || !tracer.IsNil()
}

// outOf is where a frontend keeps what it writes to. nil if that cannot be seen.
func outOf(f *pgproto3.Frontend) *io.Writer {
	w := reflect.ValueOf(f).Elem().FieldByName("w")
	if !w.IsValid() || w.Type() != reflect.TypeFor[io.Writer]() {
		return nil
	}
	return (*io.Writer)(w.Addr().UnsafePointer())
}

// isPrepared reports that the program, in AfterConnect say, has prepared a statement of its own by the name that is BEGIN's
// text. pgx would execute it in the place of BEGIN.
func isPrepared(pg *pgx.Conn, text string) bool {
	names := reflect.ValueOf(pg).Elem().FieldByName("preparedStatements")
	return names.Kind() != reflect.Map || names.MapIndex(reflect.ValueOf(text)).IsValid()
}

// Idle is the connection's, but for a transaction that is open for the program and not yet for the server.
func (s *session) Idle() bool { return s.wire.Idle() && !s.later.isOpen() }

// isOpen reports that the server is not the one to ask whether the transaction is open. A nil beginning is none.
func (b *beginning) isOpen() bool {
	if b == nil {
		return false
	}
	b.opened = b.opened && b.session.pg.PgConn().IsBusy() // until then pgx has not heard how it stands
	return b.pending || b.opened
}

func (b *beginning) First(ctx context.Context, s engine.Statement, run func() error) (engine.Start, error) {
	if b.session.pg.IsClosed() { // its frontend belongs to the goroutine that closes it
		return b.lost(ctx), driver.ErrBadConn
	}
	if !b.travelsWith(s) {
		if start, err := b.byItself(ctx); start != engine.Begun || err != nil {
			return start, err
		}
		return engine.Begun, run()
	}
	// What pgx does before any other call: it forgets statements that have failed, by a pipeline that would not skip an answer.
	_, err := b.session.pg.Exec(ctx, "", nothingToDo{})
	if errors.Is(err, errNothingToDo) {
		err = b.with(run)
	}
	switch {
	case b.failed != nil:
		return b.refused(ctx, b.failed)
	case !b.begun && b.session.pg.IsClosed():
		return b.lost(ctx), err
	case !b.begun:
		return engine.NotBegun, err
	}
	b.pending = false
	return engine.Begun, err
}

// refused is what became of a BEGIN that the server has answered with an error. The transaction is over, as after pgx's
// BeginTx: its Commit must not succeed behind a statement that has failed. But a server that only ends the connection has
// not refused the transaction.
func (b *beginning) refused(ctx context.Context, err error) (engine.Start, error) {
	closeAtOnce(b.session.pg)
	if endsConnection(err) {
		return b.lost(ctx), err
	}
	b.pending = false
	return engine.Begun, err
}

// lost is what became of the beginning on a connection that has been lost without an answer.
func (b *beginning) lost(ctx context.Context) engine.Start {
	b.pending = false
	if ctx.Err() != nil {
		return engine.Begun // the driver has closed it for that
	}
	return engine.LostBefore
}

// travelsWith reports that BEGIN can travel with a statement: it is sent by the extended protocol.
func (b *beginning) travelsWith(s engine.Statement) bool {
	return !forTheDriver(s.Args) && (!s.Text || len(s.Args) > 0)
}

// byItself sends BEGIN in a round trip of its own. It does what pgx's BeginTx does.
func (b *beginning) byItself(ctx context.Context) (engine.Start, error) {
	pg := b.session.pg
	_, err := pg.Exec(ctx, b.text)
	if err == nil {
		b.pending = false
		return engine.Begun, nil
	}
	switch {
	case asPg(err) != nil:
		return b.refused(ctx, err)
	case pg.IsClosed():
		return b.lost(ctx), err
	}
	return engine.NotBegun, err
}

// with calls run, with BEGIN before whatever it sends first.
func (b *beginning) with(run func() error) error {
	f := b.session.pg.PgConn().Frontend()
	f.SendClose(&pgproto3.Close{ObjectType: 'P'})
	f.SendParse(&pgproto3.Parse{Query: b.text})
	f.SendBind(&pgproto3.Bind{})
	f.SendExecute(&pgproto3.Execute{})
	f.Send(&pgproto3.Flush{})
	b.out = outOf(f)
	b.way, *b.out = *b.out, (*sending)(b)
	defer b.takeBack(f)
	return run()
}

// takeBack takes BEGIN out of the buffer if nothing was sent. The frontend of a connection that was lost belongs to the
// goroutine that closes it. A connection that is busy has been left before the answers by a panic, in a hook of the program's
// say: it is of no more use.
func (b *beginning) takeBack(f *pgproto3.Frontend) {
	pg := b.session.pg
	switch {
	case b.begun || pg.IsClosed():
		return
	case pg.PgConn().IsBusy():
		closeAtOnce(pg)
		return
	}
	b.handBack()
	f.Untrace()
	f.Send(unsendable{})
	f.Flush() // an error that empties the buffer
}

// sending is what the frontend writes BEGIN and the first statement to.
type sending beginning

// Write sets the tracer for the answers.
func (s *sending) Write(messages []byte) (int, error) {
	b := (*beginning)(s)
	way := b.way
	b.handBack()
	n, err := way.Write(messages)
	if err == nil {
		b.session.pg.PgConn().Frontend().Trace(b, pgproto3.TracerOptions{SuppressTimestamps: true})
	}
	return n, err
}

// handBack has the frontend write to what it wrote to before.
func (b *beginning) handBack() {
	if b.out != nil {
		*b.out, b.out, b.way = b.way, nil, nil
	}
}

// Write is called by the frontend's tracer with a line for each message.
func (b *beginning) Write(line []byte) (int, error) {
	if bytes.HasPrefix(line, []byte("B\tCloseComplete\t")) {
		b.readAnswers()
	}
	return len(line), nil
}

// readAnswers reads the answers to BEGIN, which come behind that to Close. A server with client_min_messages at debug has notices
// between them. What else it sends unasked comes before a transaction or behind it.
func (b *beginning) readAnswers() {
	conn := b.session.pg.PgConn()
	f := conn.Frontend()
	f.Untrace() // its lock is held
	for {
		msg, err := f.Receive()
		if err != nil {
			return // the driver meets it, too, in its next read
		}
		switch msg := msg.(type) {
		case *pgproto3.NoticeResponse:
			if b.session.onNotice != nil {
				b.session.onNotice(conn, (*pgconn.Notice)(pgconn.ErrorResponseToPgError((*pgproto3.ErrorResponse)(msg))))
			}
		case *pgproto3.CommandComplete:
			b.begun, b.opened = true, true
			return
		case *pgproto3.ErrorResponse:
			b.failed = pgconn.ErrorResponseToPgError(msg)
			conn.Conn().Close() // the driver would wait for an answer to the statement
			return
		}
	}
}

// Commit does what stdlib's and pgx's do.
func (b *beginning) Commit() error {
	b.session.later = nil
	if b.pending {
		return nil
	}
	pg := b.session.pg
	tag, err := pg.Exec(b.ctx, "commit")
	if err != nil {
		if pg.PgConn().TxStatus() != 'I' {
			pg.Close(b.ctx)
		}
		return err
	}
	if tag.String() == "ROLLBACK" {
		return pgx.ErrTxCommitRollback
	}
	return nil
}

// Rollback does what stdlib's and pgx's do.
func (b *beginning) Rollback() error {
	b.session.later = nil
	if b.pending {
		return nil
	}
	_, err := b.session.pg.Exec(b.ctx, "rollback")
	if err != nil {
		closeAtOnce(b.session.pg)
	}
	return err
}

func closeAtOnce(pg *pgx.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	pg.Close(ctx)
}

// nothingToDo ends a call of pgx before it sends a statement.
type nothingToDo struct{}

func (nothingToDo) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return "", nil, errNothingToDo
}

var errNothingToDo = errors.New("groupcommit/pgx: nothing is to be sent")

// unsendable is a message that the frontend cannot encode.
type unsendable struct{}

func (unsendable) Frontend()                     {}
func (unsendable) Decode([]byte) error           { return errNothingToDo }
func (unsendable) Encode([]byte) ([]byte, error) { return nil, errNothingToDo }
