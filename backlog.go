package groupcommit

import (
	"context"
	"database/sql"
	"errors"

	"github.com/groupcommit/groupcommit/internal/command"
)

// A Backlog is how many [Durable] commands of a kind are recorded and have no outcome, and when the oldest of them was recorded.
type Backlog = command.Backlog

var errNoBacklog = errors.New("groupcommit: BacklogOf: the database keeps no promises; open it with Promises() or " + prefix + "promises=on")

// BacklogOf returns the backlog of each kind that has one, whichever process is to carry it out. Unlike [StatsOf], which has what
// this process knows, it asks the database: one query, which reads as many entries of an index as there are such commands.
//
// db must be one of ours, opened with [Promises].
func BacklogOf(ctx context.Context, db *sql.DB) (map[string]Backlog, error) {
	d, err := databaseOf(ctx, db)
	if err != nil {
		return nil, err
	}
	if !d.limits.promises {
		return nil, errNoBacklog
	}
	d.Pool.Learn(db)
	if _, err := d.ready(ctx); err != nil {
		return nil, err
	}
	return command.Backlogs(ctx, commandHost{d})
}
