package monitors

import (
	"context"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"riverwatch/db"
	"riverwatch/probe"
)

// What a monitor's secret_names may hold.
const (
	SecretBasicPassword = "basic_password"
	SecretBearerToken   = "bearer_token"
	SecretClientKey     = "client_key_pem" //nolint:gosec // a name
	SecretHeaderPrefix  = "header "        // and the header's name
)

// secretNames names the secrets that are set, in order.
func secretNames(secrets probe.Secrets) []string {
	names := []string{}
	for name, value := range map[string]string{
		SecretBasicPassword: secrets.BasicPassword, SecretBearerToken: secrets.BearerToken, SecretClientKey: secrets.ClientKeyPEM,
	} {
		if value != "" {
			names = append(names, name)
		}
	}
	for name := range secrets.Headers {
		names = append(names, SecretHeaderPrefix+name)
	}
	slices.Sort(names)
	return names
}

// Secrets gives the secrets of those monitors that have any. Most have none, and then nothing is asked.
func Secrets(ctx context.Context, queries *db.Queries, monitors ...db.Monitor) (map[int64]probe.Secrets, error) {
	var ids []int64
	for _, monitor := range monitors {
		if len(monitor.SecretNames) > 0 {
			ids = append(ids, monitor.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil //nolint:nilnil // a nil map holds nothing
	}
	rows, err := queries.ListSecrets(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	secrets := make(map[int64]probe.Secrets, len(rows))
	for _, row := range rows {
		var one probe.Secrets
		if err := json.Unmarshal(row.Secrets, &one); err != nil {
			return nil, fmt.Errorf("read the secrets of monitor %d", row.MonitorID) // the error of json may hold them
		}
		secrets[row.MonitorID] = one
	}
	return secrets, nil
}
