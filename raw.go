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
func Raw(ctx context.Context, c *sql.Conn, f func(driver.Conn) error) error {
	if f == nil {
		return fmt.Errorf("groupcommit: Raw: f is nil; a function is needed")
	}
	if c == nil {
		return fmt.Errorf("groupcommit: Raw: the *sql.Conn is nil")
	}
	return c.Raw(func(dc any) error {
		own, err := ownOf(dc)
		if err != nil {
			return err
		}
		return own.WithRaw(ctx, f)
	})
}

// ownOf finds our connection in one that database/sql pools: it is that, or is inside wrappers around ours.
func ownOf(dc any) (*virtual.Conn, error) {
	for c, _ := dc.(driver.Conn); c != nil; c = engine.Unwrap(c) {
		switch own := c.(type) {
		case *virtual.Conn:
			return own, nil
		case *ownConn:
			return own.Conn, nil
		}
	}
	return nil, fmt.Errorf("groupcommit: %T is not a connection of groupcommit; open the database with a name that was given to Register, or with NewConnector", dc)
}

// databaseOf finds the database behind a sql.DB of ours.
func databaseOf(db *sql.DB) (*database, error) {
	if db == nil {
		return nil, fmt.Errorf("groupcommit: the *sql.DB is nil")
	}
	d := db.Driver()
	for {
		if own, ok := d.(*Driver); ok && own.db != nil {
			return own.db, nil
		}
		w, ok := d.(interface{ Unwrap() driver.Driver })
		if !ok {
			break
		}
		d = w.Unwrap()
	}
	return nil, fmt.Errorf("groupcommit: the *sql.DB has driver %T, which is not groupcommit's; open it with a name that was given to Register, or with NewConnector", db.Driver())
}
