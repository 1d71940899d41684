package virtual

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// stmt is a prepared statement. What the driver says of the text is asked once and remembered, so that database/sql,
// which prepares a statement on every connection that it meets, costs nothing by it. The driver's own statement is
// made on the leased connection when it is needed, and is kept there for the next that prepares the same text.
type stmt struct {
	conn   *Conn
	text   *sqltext.Text
	native physical.Stmt // of the leased connection; none without a lease
	open   bool          // it counts as one of the program's
}

var (
	_ driver.Stmt             = (*stmt)(nil)
	_ driver.StmtExecContext  = (*stmt)(nil)
	_ driver.StmtQueryContext = (*stmt)(nil)
)

func (c *Conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	traits, err := c.host.Ready(ctx)
	if err != nil {
		return nil, err
	}
	s := &stmt{conn: c, text: c.base.Texts.Get(traits.Dialect, query)}
	if s.text.Inputs != sqltext.Unprepared && c.held.Conn == nil {
		s.count(traits)
		return s, nil
	}
	if err := c.use(ctx, traits, &sqltext.Text{}); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		c.after(nil)
		return nil, c.met(err)
	}
	t := *s.text
	t.Inputs = s.native.Native.NumInput()
	s.text = &t
	if !c.bound && !c.held.control && !c.tx.begun { // what only this connection sees is not true of the others
		c.base.Texts.Put(s.text)
	}
	s.count(traits)
	c.after(nil)
	return s, nil
}

func (s *stmt) count(traits *engine.Traits) {
	if traits.ByText {
		s.open = true
		s.conn.base.Pool.StmtOpened(s.text.Query)
	}
}

// NumInput leaves the counting of arguments to where they are checked, which is after some may have been removed.
func (s *stmt) NumInput() int { return -1 }

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	c := s.conn
	traits, err := c.host.Ready(ctx)
	if err != nil {
		return nil, err
	}
	if res, ok, err := c.hosted(ctx, traits, Exec{Text: s.text, Args: args, Inputs: s.text.Inputs, Prepared: true}); ok {
		return res, err
	}
	if err := s.use(ctx, traits, len(args)); err != nil {
		return nil, err
	}
	if s.text.Empty { // drivers have been seen to crash on a prepared statement that holds none
		res, err := c.exec(ctx, s.text.Query, args)
		return c.executed(s.text, res, err)
	}
	res, err := s.exec(ctx, args)
	if s.text.Class != sqltext.Batch || s.text.Returning {
		s.drop() // it may be in the middle of its rows, and hold a lock or a snapshot for them
	}
	return c.executed(s.text, res, err)
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	c := s.conn
	traits, err := c.host.Ready(ctx)
	if err != nil {
		return nil, err
	}
	if id, ok := IDOf(ctx); ok && s.text.Write {
		return c.queryID(ctx, id, Exec{Text: s.text, Args: args, Inputs: s.text.Inputs, Prepared: true})
	}
	if c.asksLevel(s.text) {
		return c.queryAside(ctx, s.text.Query, args)
	}
	defer c.abandon(!c.Holds())
	if e := (Exec{Text: s.text, Args: args, Inputs: s.text.Inputs, Prepared: true}); c.groupsQuery(ctx, traits, &e) {
		return c.grouped(ctx, traits, e, func(args []driver.NamedValue) (driver.Rows, error) { return s.leased(ctx, traits, args) })
	}
	return s.leased(ctx, traits, args)
}

// leased runs a query on the leased connection.
func (s *stmt) leased(ctx context.Context, traits *engine.Traits, args []driver.NamedValue) (driver.Rows, error) {
	c := s.conn
	if err := s.use(ctx, traits, len(args)); err != nil {
		return nil, err
	}
	if s.text.Empty {
		rows, err := c.query(ctx, s.text.Query, args)
		return c.queried(s.text, rows, err)
	}
	rows, err := s.query(ctx, args)
	return c.queried(s.text, rows, err)
}

func (s *stmt) use(ctx context.Context, traits *engine.Traits, args int) error {
	if err := s.conn.use(ctx, traits, s.text); err != nil {
		return err
	}
	err := s.prepare(ctx)
	if err == nil {
		return nil
	}
	s.conn.after(nil)
	if err = s.conn.met(err); !errors.Is(err, driver.ErrBadConn) && ctx.Err() == nil && s.text.Inputs >= 0 && args != s.text.Inputs {
		// database/sql counts the arguments of a statement that is prepared before the driver can find fault with it.
		return fmt.Errorf("sql: expected %d arguments, got %d", s.text.Inputs, args)
	}
	return err
}

// attach gives s a statement of the leased connection: one that was prepared before, or a new one.
func (s *stmt) attach(ctx context.Context) (err error) {
	if s.native.Native != nil {
		return nil
	}
	if s.native, err = s.conn.held.Conn.TakeStmt(ctx, s.text.Query, s.conn.base.Texts.Version()); err != nil {
		return err
	}
	s.conn.held.stmts = append(s.conn.held.stmts, s)
	return nil
}

// detach ends the use of the connection's statement; keep leaves it to the next that prepares the same text.
func (s *stmt) detach(keep bool) {
	if s.native.Native != nil {
		s.conn.held.Conn.EndStmt(s.native, keep)
		s.native = physical.Stmt{}
	}
}

// Close touches the physical connection only while it is leased: database/sql closes statements when it likes, also
// long after the connection has gone to another caller.
func (s *stmt) Close() error {
	wanted := true
	if s.open {
		s.open = false
		wanted = s.conn.base.Pool.StmtClosed(s.text.Query)
	}
	s.end(wanted && !s.conn.bound && !s.conn.held.control)
	return nil
}

// drop ends the use of the connection's statement, and the statement.
func (s *stmt) drop() { s.end(false) }

func (s *stmt) end(keep bool) {
	if s.native.Native == nil {
		return
	}
	c := s.conn
	for i, other := range c.held.stmts {
		if other == s {
			c.held.stmts = append(c.held.stmts[:i], c.held.stmts[i+1:]...)
			break
		}
	}
	s.detach(keep)
}

func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), withOrdinals(args))
}

func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), withOrdinals(args))
}

func withOrdinals(values []driver.Value) []driver.NamedValue {
	args := make([]driver.NamedValue, len(values))
	for i, v := range values {
		args[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return args
}
