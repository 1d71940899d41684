package sqlite3_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/difftest"
	mattn "github.com/mattn/go-sqlite3"
)

var background = context.Background()

// diffRunner is a caller on one driver.
type diffRunner struct {
	db *sql.DB
	on interface { // a sql.Conn or a sql.DB
		diffTarget
		BeginTx(context.Context, *sql.TxOptions) (*sql.Tx, error)
	}
	tx    *sql.Tx
	stmts [3]*sql.Stmt
}

type diffTarget interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	PrepareContext(context.Context, string) (*sql.Stmt, error)
}

func (r *diffRunner) do(op diffOp) string {
	ctx := background
	if op.cancelled {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		cancel()
	}
	var on diffTarget = r.on
	if r.tx != nil {
		on = r.tx
	}
	st := r.stmts[op.slot]
	if st != nil && r.tx != nil {
		st = r.tx.Stmt(st)
	}
	switch op.what {
	case "exec":
		return resultText(op)(on.ExecContext(ctx, op.sql, op.args...))
	case "go":
		if _, err := groupcommit.StatsOf(r.db); err == nil && r.tx == nil {
			return resultText(op)(groupcommit.Go(ctx, r.db, op.sql, op.args...).Await(background))
		}
		return resultText(op)(on.ExecContext(ctx, op.sql, op.args...))
	case "query", "first":
		return rowsText(op.what == "first")(on.QueryContext(ctx, op.sql, op.args...))
	case "begin":
		if r.tx != nil {
			return "" // in a transaction
		}
		var err error
		r.tx, err = r.on.BeginTx(ctx, nil)
		return errorText(err)
	case "commit", "rollback":
		if r.tx == nil {
			return ""
		}
		end := r.tx.Commit
		if op.what == "rollback" {
			end = r.tx.Rollback
		}
		r.tx = nil
		return errorText(end())
	case "prepare":
		if r.stmts[op.slot] != nil {
			r.stmts[op.slot].Close()
			r.stmts[op.slot] = nil
		}
		if r.tx != nil {
			return "" // it would be the transaction's
		}
		st, err := on.PrepareContext(ctx, op.sql)
		if err == nil {
			r.stmts[op.slot] = st
		}
		return errorText(err)
	case "stmt exec":
		if st == nil {
			return ""
		}
		return resultText(op)(st.ExecContext(ctx, op.args...))
	case "stmt query":
		if st == nil {
			return ""
		}
		return rowsText(false)(st.QueryContext(ctx, op.args...))
	case "stmt close":
		if r.stmts[op.slot] == nil {
			return ""
		}
		err := r.stmts[op.slot].Close()
		r.stmts[op.slot] = nil
		return errorText(err)
	}
	panic("no such op: " + op.what)
}

// errorText is everything of an error that a program can act on.
func errorText(err error) string {
	if err == nil {
		return "ok"
	}
	s := fmt.Sprintf("%T: %v", err, err)
	var e mattn.Error
	if errors.As(err, &e) {
		if e.Code == mattn.ErrSchema { // a neighbour has changed the schema twice meanwhile: the words are those of the error that it became
			e.Code, e.ExtendedCode = mattn.ErrError, mattn.ErrNoExtended(mattn.ErrError)
		}
		s += fmt.Sprintf(" (code %d, extended %d)", e.Code, e.ExtendedCode)
	}
	return s
}

// resultText is a result, as far as it is defined.
func resultText(op diffOp) func(sql.Result, error) string {
	return func(res sql.Result, err error) string {
		if err != nil || !op.counted {
			return errorText(err)
		}
		rows, err := res.RowsAffected()
		s := fmt.Sprintf("%d rows, %s", rows, errorText(err))
		if rows > 0 && op.inserts {
			id, err := res.LastInsertId()
			s += fmt.Sprintf(", id %d, %s", id, errorText(err))
		}
		return s
	}
}

func rowsText(first bool) func(*sql.Rows, error) string {
	return difftest.Rows(first, errorText, diffValue)
}

// dump is all that is in a database, or the errors that keep it from view.
func dump(db diffTarget) string { return dumped(db, false) }

// dumped can put everything in order, where it is nobody's which call came first.
func dumped(db diffTarget, ordered bool) string {
	var b strings.Builder
	by := func(order string) string {
		if ordered {
			return "1"
		}
		return order
	}
	schema := texts(db, "SELECT type || ' ' || name || ' ' || tbl_name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY "+by("rowid"))
	b.WriteString(strings.Join(schema, "\n"))
	for _, name := range texts(db, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name") {
		columns := texts(db, fmt.Sprintf(`SELECT group_concat('typeof("' || name || '") || quote("' || name || '")', ' || '' '' || ')
			FROM pragma_table_xinfo('%s')`, name))
		fmt.Fprintf(&b, "\n%s:", name)
		for _, row := range texts(db, "SELECT "+strings.Join(columns, "")+" FROM main."+name+strings.TrimSuffix(" ORDER BY "+by(""), " ORDER BY ")) {
			b.WriteString("\n    " + row)
		}
	}
	return b.String()
}

// texts is the first column of a query, and its error if there is one.
func texts(db diffTarget, query string) (got []string) {
	rows, err := db.QueryContext(background, query)
	if err != nil {
		return []string{errorText(err)}
	}
	defer rows.Close()
	for rows.Next() {
		var s sql.NullString
		if err := rows.Scan(&s); err != nil {
			return append(got, errorText(err))
		}
		got = append(got, s.String)
	}
	if err := rows.Err(); err != nil {
		got = append(got, errorText(err))
	}
	return got
}

func diffValue(v any) string {
	if b, ok := v.([]byte); ok {
		return fmt.Sprintf("[]byte(%q)", b)
	}
	return fmt.Sprintf("%T(%v)", v, v)
}
