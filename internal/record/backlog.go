package record

import (
	"context"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// Backlog is what is recorded of a kind, and still to be run.
type Backlog struct {
	Count  int64
	Oldest time.Time // when the first of them was recorded
}

// backlogs is read alike by all databases. The index of pending commands has all of it.
const backlogs = "SELECT kind, count(*), min(created_at) FROM groupcommit_promises WHERE state = 0 AND kind IS NOT NULL GROUP BY kind"

// Backlogs returns those of all kinds, whichever process is to run the commands.
func Backlogs(ctx context.Context, q durable.Querier) (map[string]Backlog, error) {
	rows, err := query(ctx, q, Statement{Text: backlogs})
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := make(map[string]Backlog)
	for rows.Next() {
		var kind string
		var b Backlog
		var oldest int64
		if err := rows.Scan(&kind, &b.Count, &oldest); err != nil {
			return nil, err
		}
		b.Oldest = time.UnixMilli(oldest)
		found[kind] = b
	}
	return found, rows.Err()
}
