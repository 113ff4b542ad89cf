//go:build linux

package devfarm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
)

// runAs runs a shell command as a task of the pool "users" and returns its words.
func (f *farm) runAs(id, identity, script string, more ...string) []string {
	f.t.Helper()
	return f.runIn("work", id, identity, script, more...)
}

func (f *farm) runIn(job, id, identity, script string, more ...string) []string {
	f.t.Helper()
	text := fmt.Sprintf("id: %s\ncommandLine: >-\n  /bin/sh -c '%s'\n%s\n%s", id, script, identity, strings.Join(more, "\n"))
	out, code := f.run("task", "add", job, "--file", f.write(id+".yaml", text))
	require.Zero(f.t, code, out)
	f.run("job", "wait", job)
	out, code = f.run("task", "logs", job, id)
	require.Zero(f.t, code, out)
	return strings.Fields(out)
}

// Tasks run as the users that they ask for, and one task's files are closed to another's user.
func TestTasksRunAsTheirUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("only root can give tasks users")
		}
		t.Skip("only root can give tasks users")
	}
	f := &farm{t: t, dir: t.TempDir()}
	require.NoError(t, os.Chmod(filepath.Dir(f.dir), 0o711)) // tasks have to get through
	f.start("--nodes", "0", "--task-users", "--limit-tasks")
	t.Cleanup(f.stop)
	out, code := f.run("pool", "create", "--file", f.write("pool.yaml", `
id: users
vmSize: local
taskSlotsPerNode: 2
targetDedicatedNodes: 1
startTask: {commandLine: /bin/sh -c "id -u > started", userIdentity: {autoUser: {scope: pool, elevationLevel: admin}}}
userAccounts:
  - {name: ann, password: secret-canary, linuxUserConfiguration: {uid: 4242, gid: 4243}}
  - {name: bob, password: secret-canary}
  - {name: boss, password: secret-canary, elevationLevel: admin}
`))
	require.Zero(t, code, out)
	out, code = f.run("pool", "show", "users", "-o", "json")
	require.Zero(t, code)
	require.Contains(t, out, `"ann"`)
	require.NotContains(t, out, "secret-canary")
	out, code = f.run("job", "create", "work", "--pool", "users")
	require.Zero(t, code, out)
	f.write("in.txt", "input")
	out, code = f.run("file", "upload", filepath.Join(f.dir, "in.txt"), "--to", "in/")
	require.Zero(t, code, out)

	const who = "id -u; id -g"
	taskScope, poolScope := "userIdentity: {autoUser: {scope: task}}", "userIdentity: {autoUser: {scope: pool}}"
	first := f.runAs("first", "", who+"; umask; echo mine > own; pwd; grep NoNewPrivs /proc/self/status; echo x > $AZ_BATCH_NODE_SHARED_DIR/note; cat $AZ_BATCH_NODE_SHARED_DIR/note")
	require.Equal(t, first[0], first[1])
	require.Regexp(t, "^2[0-9]{9}$", first[0])
	require.Equal(t, []string{"NoNewPrivs:", "1", "x"}, first[4:])
	home := first[3]

	probe := fmt.Sprintf("exec 2>/dev/null; id -u; cat %s/own || echo closed; ls %s || echo closed; cat %s/../stdout.txt || echo closed; echo > %s/../new || echo closed; kill -9 $PPID || echo closed",
		home, home, home, home)
	closed := []string{"closed", "closed", "closed", "closed", "closed"}
	second := f.runAs("second", taskScope, probe)
	require.NotEqual(t, first[0], second[0])
	require.Equal(t, closed, second[1:])
	require.Equal(t, closed, f.runAs("third", poolScope, probe)[1:])
	require.Equal(t, closed, f.runAs("fourth", "userIdentity: {username: bob}", probe)[1:])

	readable := f.runAs("snoop", "", "find "+filepath.Join(f.dir, "farm")+" -type f -readable 2>/dev/null; echo done")
	require.Contains(t, readable, "done")
	for _, path := range readable {
		require.Contains(t, []string{"started", "note", "stdout.txt", "stderr.txt", "done"}, filepath.Base(path), path)
	}
	f.preparedAsOneUserAndReadByAnother(first[0])
	shared := f.runAs("shared", poolScope, "id -u; pwd; echo ours > own")
	require.Equal(t, []string{shared[0], "ours"}, f.runAs("sharer", poolScope, "id -u; cat "+shared[1]+"/own"))
	require.Equal(t, []string{"4242", "4243"}, f.runAs("ann", "userIdentity: {username: ann}", who))
	for id, identity := range map[string]string{"admin": "userIdentity: {autoUser: {scope: task, elevationLevel: admin}}", "boss": "userIdentity: {username: Boss}"} {
		require.Equal(t, []string{"0", "0", "mine"}, f.runAs(id, identity, who+"; cat "+home+"/own"))
	}

	// Staged files are the user's, its outputs arrive, and it has the node's share that its slots are.
	account := f.runAs("staged", "userIdentity: {username: ann}", "stat -c %u:%g:%a in.txt; cat in.txt; echo; tr a-z A-Z < in.txt > out.txt; cat /proc/self/cgroup",
		`resourceFiles: [{autoStorageContainerName: in, filePath: ""}]`,
		`outputFiles: [{filePattern: out.txt, destination: {container: {containerUrl: "`+f.store()+`", path: out.txt}}, uploadOptions: {uploadCondition: taskcompletion}}]`)
	require.Equal(t, []string{"4242:4243:770", "input"}, account[:2])
	require.Contains(t, strings.Join(account, "\n"), "/batchyard-")
	out, code = f.run("file", "download", "out.txt", "--to", f.dir+"/back")
	require.Zero(t, code, out)
	text, err := os.ReadFile(filepath.Join(f.dir, "back", "out.txt"))
	require.NoError(t, err)
	require.Equal(t, "INPUT", string(text))

	out, code = f.run("task", "add", "work", "--file", f.write("nobody.yaml", "id: nobody\ncommandLine: 'true'\nuserIdentity: {username: nobody}\n"))
	require.Zero(t, code, out)
	f.run("job", "wait", "work")
	info := f.failureOf("work", "nobody")
	require.NotNil(t, info)
	require.Equal(t, batcherr.CodeTaskSchedulingConstraintFailed, info.Code)
	require.Equal(t, "usererror", info.Category)
	require.Equal(t, []string{"fine"}, f.runAs("after", "", "echo fine"))
}

// What a start and a preparation task leave is for other users of the node to read, and not to change.
func (f *farm) preparedAsOneUserAndReadByAnother(other string) {
	f.t.Helper()
	out, code := f.run("job", "create", "--file", f.write("prepared.yaml", `
id: prepared
poolInfo: {poolId: users}
jobPreparationTask:
  commandLine: /bin/sh -c "id -u > who; mkdir d; echo ready > d/data"
  resourceFiles: [{autoStorageContainerName: in, filePath: ""}]
`))
	require.Zero(f.t, code, out)
	const script = "exec 2>/dev/null; id -u; cd $AZ_BATCH_JOB_PREP_WORKING_DIR && cat who d/data in.txt && echo; cat $AZ_BATCH_NODE_STARTUP_DIR/wd/started; " +
		"for f in who d/data d/new new in.txt $AZ_BATCH_NODE_STARTUP_DIR/wd/started; do echo x >> $f || echo closed; done"
	words := f.runIn("prepared", "reader", "", script)
	require.Equal(f.t, []string{"1900000000", "ready", "input", "0", "closed", "closed", "closed", "closed", "closed", "closed"}, words[1:])
	require.NotContains(f.t, []string{"0", "1900000000", other}, words[0])
}

// store is the s3:// URL of the account's bucket.
func (f *farm) store() string {
	out, code := f.run("submit", f.write("store.yaml", "job: {id: store, poolInfo: {poolId: users}}\ntasks: [{id: t, commandLine: \"echo {{store}}\"}]\n"), "--wait")
	require.Zero(f.t, code, out)
	out, code = f.run("task", "logs", "store", "t")
	require.Zero(f.t, code, out)
	return strings.TrimSpace(out)
}
