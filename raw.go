package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// Raw calls f with the wrapped driver's own connection, for work outside database/sql's interface: backups, COPY, hooks. It
// is c.Raw of the plain driver. From then on c keeps the physical connection until c is closed, because the library cannot
// know what f leaves on it.
//
// f must not keep the connection. If it returns driver.ErrBadConn or panics, the connection is closed. f does not have
// the writer's turn: a write in it may find the database busy, as it may with the plain driver.
//
// What f commits is as durable when Raw returns as what a statement of c's would commit. If that cannot be known, Raw returns an
// [OutcomeUnknownError]. If on SQLite a sync has failed, and the database is not well yet, Raw returns that error and does not call f.
func Raw(ctx context.Context, c *sql.Conn, f func(driver.Conn) error) error {
	if f == nil {
		return fmt.Errorf("groupcommit: Raw: f is nil; a function is needed")
	}
	if c == nil {
		return fmt.Errorf("groupcommit: Raw: the *sql.Conn is nil")
	}
	return c.Raw(func(dc any) error {
		own, err := ownOf(dc.(driver.Conn))
		if err != nil {
			return err
		}
		return own.WithRaw(ctx, f)
	})
}

// aConn is a connection of ours, as [Driver.Open] or database/sql has it.
type aConn interface {
	driver.Conn
	Host() virtual.Host
	WithRaw(context.Context, func(driver.Conn) error) error
}

// ownOf finds our connection in one that database/sql pools: it is that, or is inside wrappers around ours.
func ownOf(dc driver.Conn) (aConn, error) {
	if own, ok := engine.Unwrapped[aConn](dc); ok {
		return own, nil
	}
	return nil, fmt.Errorf("groupcommit: %T is not a connection of groupcommit; open the database with a name that was given to Register, or with NewConnector", dc)
}
