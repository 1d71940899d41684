package libraries_test

import (
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	groupotel "github.com/groupcommit/groupcommit/otel"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

func TestModuleOtelBelowOtelsql(t *testing.T) {
	dsn := pgtest.DSN(t)
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	connector, err := groupcommit.NewConnector(stdlib.GetConnector(*config), groupotel.Groups())
	require.NoError(t, err)
	db := otelsql.OpenDB(connector)
	defer db.Close()
	stop, err := groupotel.Observe(db)
	require.NoError(t, err)
	insertsAreGrouped(t, db)
	require.NoError(t, stop())
}
