package pgx

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// sendText sends a statement without parameters.
func sendText(p *pgconn.Pipeline, query string) { p.SendQueryParams(query, nil, nil, nil, nil) }

// sendPrepared sends a statement with parameters in their text form, by its name if it was prepared.
func sendPrepared(p *pgconn.Pipeline, sd *pgconn.StatementDescription, query string, params [][]byte) {
	if sd != nil && sd.Name != "" {
		p.SendQueryPrepared(sd.Name, params, nil, nil)
	} else {
		p.SendQueryParams(query, params, nil, nil, nil)
	}
}

// readAnswer reads the answer to one statement: the number of rows that it affected, and its row if that is wanted.
func readAnswer(p *pgconn.Pipeline, wanted bool) (n int64, row [][]byte, err error) {
	res, err := p.GetResults()
	if err != nil {
		return 0, nil, err
	}
	switch r := res.(type) {
	case *pgconn.ResultReader:
		if wanted {
			for r.NextRow() {
				for _, v := range r.Values() {
					row = append(row, append([]byte(nil), v...))
				}
			}
		}
		tag, err := r.Close()
		return tag.RowsAffected(), row, err
	case *pgconn.CloseComplete, *pgconn.StatementDescription:
		return 0, nil, nil
	case *pgconn.PipelineSync:
		return 0, nil, errSynced
	}
	return 0, nil, errNoAnswer
}

// nextResult returns the answer to one statement, to be read and closed.
func nextResult(p *pgconn.Pipeline) (*pgconn.ResultReader, error) {
	res, err := p.GetResults()
	if err != nil {
		return nil, err
	}
	switch r := res.(type) {
	case *pgconn.ResultReader:
		return r, nil
	case *pgconn.PipelineSync:
		return nil, errSynced
	}
	return nil, errNoAnswer
}

// readDescription reads the answer to the preparing of a statement.
func readDescription(p *pgconn.Pipeline) (*pgconn.StatementDescription, error) {
	res, err := p.GetResults()
	if err != nil {
		return nil, err
	}
	sd, ok := res.(*pgconn.StatementDescription)
	if !ok {
		return nil, errNoAnswer
	}
	return sd, nil
}

var (
	errSynced   = errors.New("the server has said everything")
	errNoAnswer = errors.New("groupcommit/pgx: the server has stopped answering in the middle of a group")
)

// readSync reads on up to the server's last word for a transaction. lost is the error with which the connection was lost.
func readSync(p *pgconn.Pipeline) (lost error) {
	for {
		switch _, _, err := readAnswer(p, false); {
		case errors.Is(err, errSynced):
			return nil
		case err != nil && endsConnection(err):
			return err
		}
	}
}
