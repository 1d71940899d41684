package record

import "time"

// common are the statements that SQLite and PostgreSQL read alike, but for how a list of ids is written and how rows are
// locked. They are about pending commands.
//
// A parameter $n is the nth to appear in its text, because SQLite numbers parameters by their appearance. A WITH brings them
// into their order, and has PostgreSQL choose the rows once.
type common struct {
	in    string                    // the condition that an id is one of $1
	list  func(ids []string) string // $1
	order string                    // locks the rows that are held, in the order of ids
	lock  string                    // locks those of the chosen rows that no other transaction has locked
}

// columns are those that scan reads.
const columns = "id, kind, state, create_key, value, param, lease_owner, created_at, timeout"

// free is the condition that no process has a command leased, at the time $2.
const free = " AND (lease_until IS NULL OR lease_until <= $2) AND (timeout IS NULL OR timeout > $2)"

func (c common) Pending(kind string, r Row, owner string, until time.Time) Statement {
	var lease, end, timeout any
	if owner != "" {
		lease, end = owner, until.UnixMilli()
	}
	if !r.Timeout.IsZero() {
		timeout = r.Timeout.UnixMilli()
	}
	return Statement{`INSERT INTO groupcommit_promises (id, state, create_key, kind, param, timeout, created_at, lease_owner, lease_until)
		VALUES ($1, 0, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING`,
		[]any{r.ID, []byte(r.Key), kind, r.Param, timeout, r.Created.UnixMilli(), lease, end}}
}

func (c common) Hold(ids []string, owner string, now time.Time) Statement {
	return Statement{"SELECT id, create_key FROM groupcommit_promises WHERE id " + c.in +
		" AND state = 0 AND lease_owner = $2 AND (timeout IS NULL OR timeout > $3)" + c.order,
		[]any{c.list(ids), owner, now.UnixMilli()}}
}

func (c common) Look(kind string, now time.Time) Statement {
	const pending = "EXISTS (SELECT 1 FROM groupcommit_promises WHERE state = 0 AND kind = $1"
	return Statement{"SELECT " + pending + "), " + pending + " AND timeout <= $2), " + pending + free + ")",
		[]any{kind, now.UnixMilli()}}
}

func (c common) Take(kind, owner string, now, until time.Time, n int) []Statement {
	return []Statement{{`WITH oldest AS (SELECT id FROM groupcommit_promises
			WHERE state = 0 AND kind = $1` + free + `
			ORDER BY created_at, id LIMIT $3` + c.lock + `)
		UPDATE groupcommit_promises SET lease_owner = $4, lease_until = $5 WHERE id IN (SELECT id FROM oldest) AND state = 0
		RETURNING ` + columns, []any{kind, now.UnixMilli(), int64(n), owner, until.UnixMilli()}}}
}

func (c common) Renew(ids []string, owner string, until time.Time) Statement {
	return Statement{`WITH mine AS (SELECT id FROM groupcommit_promises WHERE id ` + c.in + ` AND state = 0 AND lease_owner = $2` + c.lock + `)
		UPDATE groupcommit_promises SET lease_until = $3 WHERE id IN (SELECT id FROM mine) AND state = 0`,
		[]any{c.list(ids), owner, until.UnixMilli()}}
}

func (c common) Release(kind, owner string) Statement {
	return Statement{`UPDATE groupcommit_promises SET lease_owner = NULL, lease_until = NULL
		WHERE state = 0 AND kind = $1 AND lease_owner = $2`, []any{kind, owner}}
}

func (c common) Expire(kind string, now time.Time) Statement {
	return Statement{`WITH late AS (SELECT id FROM groupcommit_promises WHERE state = 0 AND kind = $1 AND timeout <= $2` + c.lock + `)
		UPDATE groupcommit_promises SET state = 4, completed_at = timeout, lease_owner = NULL, lease_until = NULL
		WHERE id IN (SELECT id FROM late) AND state = 0`, []any{kind, now.UnixMilli()}}
}

func (c common) Shelve(ids []string, until time.Time) Statement {
	return Statement{`WITH these AS (SELECT id FROM groupcommit_promises WHERE id ` + c.in + `)
		UPDATE groupcommit_promises SET lease_owner = NULL, lease_until = $2 WHERE id IN (SELECT id FROM these) AND state = 0`,
		[]any{c.list(ids), until.UnixMilli()}}
}

func (c common) Waiting(kind string, before time.Time, n int) Statement {
	return Statement{"SELECT id FROM groupcommit_promises WHERE state = 0 AND kind = $1 AND created_at <= $2 LIMIT $3",
		[]any{kind, before.UnixMilli(), int64(n)}}
}
