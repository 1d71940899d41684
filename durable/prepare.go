package durable

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrSchema matches, by errors.Is, the errors of Prepare that only a change to the database or to the program ends: the
// table is missing and cannot be made, or has another shape, or another version.
var ErrSchema = errors.New("durable: the table groupcommit_promises cannot be used")

// Prepare asks the database which dialect it has and whether the table is there and as it must be, and makes the table if it
// is missing. It costs three or four queries if the table is there. Several processes may do so at once, and all succeed. If
// the role may not create tables, a table that is there is enough: see Schema. q must not be in a transaction, because
// PostgreSQL ends it at the first error.
func Prepare(ctx context.Context, q Querier) (Dialect, error) {
	d, err := dialectOf(ctx, q)
	if err != nil {
		return 0, err
	}
	if err := d.Prepare(ctx, q); err != nil {
		return 0, err
	}
	return d, nil
}

// Prepare is the function Prepare for a known dialect. It does not ask the database for it.
func (d Dialect) Prepare(ctx context.Context, q Querier) error {
	ready, err := look(ctx, q, d)
	if err != nil {
		return err
	}
	if !ready {
		if err := build(ctx, q, d); err != nil {
			if passing(err, d) {
				return fmt.Errorf("durable: the table groupcommit_promises is not there, or not complete, and could not be made: %w", err)
			}
			return fmt.Errorf("%w: it is not there, or not complete, and cannot be made: %w; have a role that may create tables "+
				"run these statements, and grant SELECT, INSERT, UPDATE and DELETE on it to the program's role:\n%s",
				ErrSchema, err, strings.Join(Schema(d), ";\n"))
		}
		if _, err := look(ctx, q, d); err != nil {
			return err
		}
	}
	return nil
}

// dialectOf asks PostgreSQL's question first, because an unknown function does no harm in SQLite.
func dialectOf(ctx context.Context, q Querier) (Dialect, error) {
	said, err := column(ctx, q, "SELECT version()")
	if err == nil {
		if strings.HasPrefix(said[0], "PostgreSQL ") {
			return PostgreSQL, nil
		}
		return 0, fmt.Errorf("durable: the database is %q; it must be SQLite or PostgreSQL", said[0])
	}
	if _, err2 := column(ctx, q, "SELECT sqlite_version()"); err2 != nil {
		return 0, fmt.Errorf("durable: the database cannot be asked whether it is PostgreSQL: %w; or SQLite: %w", err, err2)
	}
	return SQLite, nil
}

// look reports that the table is there, complete. A table of another shape is an error.
func look(ctx context.Context, q Querier, d Dialect) (ready bool, err error) {
	there, err := column(ctx, q, shapeOf[d])
	if err != nil {
		return false, fmt.Errorf("durable: the columns of groupcommit_promises cannot be read: %w", err)
	}
	if len(there) == 0 {
		return false, nil
	}
	want := shape(d)
	lacks := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return slices.Contains(there, s) })
	if len(lacks) > 0 {
		return false, fmt.Errorf("%w: it has %s; it needs %s, and so lacks %s", ErrSchema,
			strings.Join(there, ", "), strings.Join(want, ", "), strings.Join(lacks, ", "))
	}
	found, err := column(ctx, q, "SELECT value FROM groupcommit_promises WHERE id = ''")
	if err != nil {
		return false, fmt.Errorf("durable: the version of groupcommit_promises cannot be read: %w", err)
	}
	if len(found) == 0 {
		return false, nil
	}
	if want := fmt.Sprint(version); found[0] != want {
		return false, fmt.Errorf("%w: its version is %q; this program needs version %q", ErrSchema, found[0], want)
	}
	return true, nil
}

// build makes the table. If two processes do so at once, PostgreSQL gives the loser of a race an error in spite of IF NOT
// EXISTS. By then the other's work is committed, so the same statement finds it when it runs again.
func build(ctx context.Context, q Querier, d Dialect) error {
	for _, statement := range Schema(d) {
		if _, err := q.ExecContext(ctx, statement); err == nil {
			continue
		}
		if _, err := q.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// passing reports that an error may go away by itself: neither the table nor the role is wrong.
func passing(err error, d Dialect) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, driver.ErrBadConn) {
		return true
	}
	if d == PostgreSQL {
		var said interface{ SQLState() string } // its drivers' errors have this method
		if !errors.As(err, &said) {
			return true // not an error of the server
		}
		// A connection, a rollback, resources, an object in use, a lock, an operator, the system.
		return slices.ContainsFunc([]string{"08", "40", "53", "55006", "55P03", "57", "58"},
			func(class string) bool { return strings.HasPrefix(said.SQLState(), class) })
	}
	// SQLite's drivers have only the texts of errors in common.
	return slices.ContainsFunc([]string{"is locked", "disk I/O error", "disk is full", "interrupted", "out of memory",
		"unable to open database", "database is closed"}, func(text string) bool { return strings.Contains(err.Error(), text) })
}

// column returns the one column of a query.
func column(ctx context.Context, q Querier, query string) (values []string, err error) {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v sql.NullString
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		values = append(values, v.String)
	}
	return values, rows.Err()
}
