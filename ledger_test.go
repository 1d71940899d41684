package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/groupcommit/groupcommit/engine"
)

// replaying is a driver and connection whose every Exec is answered from a ledger.
type replaying struct{ driver.Conn }

func (c replaying) Connect(context.Context) (driver.Conn, error) { return c, nil }
func (c replaying) Driver() driver.Driver                        { return nil }
func (c replaying) Close() error                                 { return nil }
func (c replaying) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return &engine.Result{Replayed: true}, nil
}

func TestDeduplicatedFindsAResultInsideDatabaseSQL(t *testing.T) {
	db := sql.OpenDB(replaying{})
	defer db.Close()
	res, err := db.Exec("INSERT")
	require.NoError(t, err)
	assert.True(t, Deduplicated(res))
}

func TestAResultThatIsNotOursIsNoReplay(t *testing.T) {
	assert.False(t, Deduplicated(nil))
	assert.False(t, Deduplicated(driver.RowsAffected(1)))
	assert.False(t, Deduplicated(struct{ driver.Result }{}))
}
