package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// check counts the rows and looks for every value that w inserts, and for the value that was taken before. Each must be
// there exactly once, and no other. The error says which values are wrong, and how.
func check(ctx context.Context, db *sql.DB, w *work) (rows int, err error) {
	users, want := w.users, w.rows()
	if w.clash > 0 && w.failure == nil {
		want++ // the row that was there
	}
	found, err := db.QueryContext(ctx, "SELECT id, value FROM "+w.table+" ORDER BY id")
	if err != nil {
		return 0, err
	}
	defer found.Close()
	times := make([]int, users)
	var missing, doubled, foreign some
	for found.Next() {
		if err := ctx.Err(); err != nil {
			return rows, err
		}
		var id int64
		var value any
		if err := found.Scan(&id, &value); err != nil {
			return rows, err
		}
		rows++
		if v, ok := value.(int64); ok && v >= 0 && v < int64(users) {
			times[v]++
		} else {
			foreign.add("%v (row %d)", printable(value), id)
		}
	}
	if err := found.Err(); err != nil {
		return rows, err
	}
	for v, n := range times {
		switch {
		case w.value(v) != v: // no call's
			if n > 0 {
				foreign.add("%d", v)
			}
		case n == 0:
			missing.add("%d", v)
		case n > 1:
			doubled.add("%d (%d times)", v, n)
		}
	}
	if rows == want && missing.n+doubled.n+foreign.n == 0 {
		return rows, nil
	}
	text := fmt.Sprintf("the database is wrong: %s rows, %s expected", comma(rows), comma(want))
	text += missing.text("missing") + doubled.text("more than once") + foreign.text("never inserted")
	return rows, fmt.Errorf("%s", text)
}

func printable(value any) any {
	switch v := value.(type) {
	case nil:
		return "NULL"
	case []byte:
		return fmt.Sprintf("%q", v)
	case string:
		return fmt.Sprintf("%q", v)
	}
	return value
}

// some returns the first few of many.
type some struct {
	first []string
	n     int
}

func (s *some) add(format string, args ...any) {
	if s.n++; s.n <= 5 {
		s.first = append(s.first, fmt.Sprintf(format, args...))
	}
}

func (s *some) text(what string) string {
	if s.n == 0 {
		return ""
	}
	t := "; " + what + ": " + strings.Join(s.first, ", ")
	if more := s.n - len(s.first); more > 0 {
		t += fmt.Sprintf(" and %s more", comma(more))
	}
	return t
}
