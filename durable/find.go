package durable

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// find turns the query into a WHERE. Its condition on the id leaves the version's row out.
func (t *sqlTable) find(ctx context.Context, q Query, n int, now time.Time) ([]Promise, error) {
	var where []string
	var args []any
	param := func(value any) string {
		args = append(args, value)
		return fmt.Sprintf("$%d", len(args))
	}
	where = append(where, "id > "+param(q.Cursor))
	if q.ID != "" {
		where = append(where, t.like(param(t.pattern(q.ID))))
	}
	if len(q.States) > 0 {
		var states []string
		for _, s := range q.States {
			states = append(states, fmt.Sprint(int(s)))
		}
		// The state as it is now, as Promise.at has it.
		where = append(where, fmt.Sprintf("CASE WHEN state = 0 AND timeout <= %s THEN CASE WHEN %s THEN %d ELSE %d END ELSE state END IN (%s)",
			param(now.UnixMilli()), t.tagged(param(TimeoutTag), param("true")), Resolved, RejectedTimedout, strings.Join(states, ", ")))
	}
	for key, value := range q.Tags {
		where = append(where, t.tagged(param(key), param(value)))
	}
	return t.query(ctx, selectPromise+"WHERE "+strings.Join(where, " AND ")+" ORDER BY id LIMIT "+param(n), args...)
}

func (t *sqlTable) tagged(key, value string) string {
	each := "json_each(tags)"
	if t.Dialect == PostgreSQL {
		each = "json_each_text(tags::json)"
	}
	return fmt.Sprintf("EXISTS (SELECT 1 FROM %s AS tag WHERE tag.key = %s AND tag.value = %s)", each, key, value)
}

// like uses the operator that tells upper case from lower, which SQLite's LIKE does not.
func (t *sqlTable) like(pattern string) string {
	if t.Dialect == PostgreSQL {
		return "id LIKE " + pattern
	}
	return "id GLOB " + pattern
}

// pattern turns a pattern, whose only special character is the star, into one of that operator.
func (t *sqlTable) pattern(p string) string {
	if t.Dialect == PostgreSQL {
		return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`).Replace(p)
	}
	return strings.NewReplacer(`[`, `[[]`, `?`, `[?]`).Replace(p)
}
