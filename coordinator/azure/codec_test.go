package azure

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const anyVersion = "2025-06-01"

// everything is a codec to which no property is refused, as what is refused changes with what the system can do.
func everything() *codec {
	c := newCodec(messages()...)
	for _, table := range c.messages {
		for _, f := range table.fields {
			if f.rule != nil {
				f.rule = proto.CloneOf(f.rule)
				f.rule.Support = apiv1.Support_SUPPORT_UNSPECIFIED
			}
		}
	}
	return c
}

func decodeText(t *testing.T, m proto.Message, s func(*codec) *shape, text, version string) ([]string, error) {
	t.Helper()
	c := everything()
	// One byte at a time, so that every token crosses the end of what has been read.
	d := newDecoder(iotest.OneByteReader(strings.NewReader(text)), version, DefaultLimits())
	err := d.decode(m, s(c), false)
	return d.cleared, err
}

func poolShape(c *codec) *shape { return newShapes(c).poolCreate }
func jobShape(c *codec) *shape  { return newShapes(c).jobCreate }
func taskShape(c *codec) *shape { return newShapes(c).taskCreate }

func encodeText(m proto.Message, version string) string {
	e := &encoder{codec: newCodec(messages()...), version: version, links: links{base: "https://h", job: "j", pool: "p"}}
	return string(e.object(nil, m, nil))
}

func TestDecodePool(t *testing.T) {
	pool := &apiv1.Pool{}
	_, err := decodeText(t, pool, poolShape, `{
		"id":"p1", "vmSize":"standard_d2_v3", "displayName": null, "unknown": {"a":[1,2,{"b":"}"}],"c":-1.5e3}, "url":"ignored", "state":5,
		"resizeTimeout":"PT15M", "targetDedicatedNodes":2, "enableAutoScale":false,
		"metadata":[{"name":"n","value":"\u00e9\ud83d\ude00\n\/"}],
		"certificateReferences":[], "targetNodeCommunicationMode":"simplified", "resourceTags":{"a":"b"}, "applicationLicenses":[],
		"cloudServiceConfiguration":null,
		"taskSchedulingPolicy":{"nodeFillType":"Pack"},
		"userAccounts":[{"name":"u","password":"secret","elevationLevel":"ADMIN"}],
		"virtualMachineConfiguration":{"imageReference":{"publisher":"canonical","offer":"o","sku":"s","exactVersion":"ignored"},
			"nodeAgentSKUId":"batch.node.ubuntu 22.04",
			"dataDisks":[{"lun":0,"diskSizeGB":10,"storageAccountType":"Premium_LRS"}],
			"extensions":[{"name":"e","publisher":"p","type":"t","settings":{"a":[1,"x",null,true,{}]}}]}
	}`, anyVersion)
	require.NoError(t, err)
	want := &apiv1.Pool{}
	require.NoError(t, protojson.Unmarshal([]byte(`{"id":"p1","vmSize":"standard_d2_v3","resizeTimeout":"900s","targetDedicatedNodes":2,
		"enableAutoScale":false,"metadata":[{"name":"n","value":"é😀\n/"}],"taskSchedulingPolicy":{"nodeFillType":"NODE_FILL_TYPE_PACK"},
		"userAccounts":[{"name":"u","password":"secret","elevationLevel":"ELEVATION_LEVEL_ADMIN"}],
		"virtualMachineConfiguration":{"imageReference":{"publisher":"canonical","offer":"o","sku":"s"},"nodeAgentSKUId":"batch.node.ubuntu 22.04",
		"dataDisks":[{"lun":0,"diskSizeGB":10,"managedDisk":{"storageAccountType":"STORAGE_ACCOUNT_TYPE_PREMIUM_LRS"}}],
		"extensions":[{"name":"e","publisher":"p","type":"t","settings":{"a":[1,"x",null,true,{}]}}]}}`), want))
	require.True(t, proto.Equal(want, pool), protojson.Format(pool))
}

func TestDecodeTimes(t *testing.T) {
	for text, want := range map[string]string{
		"2024-01-02T03:04:05.1234567Z":   "2024-01-02T03:04:05.1234567Z",
		"2024-01-02T03:04:05.120000Z":    "2024-01-02T03:04:05.12Z",
		"2024-01-02T03:04:05":            "2024-01-02T03:04:05Z",
		"2024-01-02T05:04:05+02:00":      "2024-01-02T03:04:05Z",
		"2024-01-02T03:04:05.123456789Z": "2024-01-02T03:04:05.1234567Z",
		"2024-01-02":                     "2024-01-02T00:00:00Z",
	} {
		s := &apiv1.JobScheduleUpdateOptions{}
		_, err := decodeText(t, s, func(c *codec) *shape { return c.shapeOf(s) }, `{"schedule":{"doNotRunUntil":"`+text+`"}}`, anyVersion)
		require.NoError(t, err)
		require.JSONEq(t, `{"schedule":{"doNotRunUntil":"`+want+`"}}`, encodeText(s, anyVersion))
	}
}

func TestDecodeUnlimited(t *testing.T) {
	job := &apiv1.Job{}
	_, err := decodeText(t, job, jobShape, `{"id":"j","poolInfo":{"poolId":"p"},"constraints":{"maxWallClockTime":"P10675199DT2H48M5.4775807S","maxTaskRetryCount":-1}}`, anyVersion)
	require.NoError(t, err)
	require.Nil(t, job.GetConstraints().GetMaxWallClockTime(), "no limit is the absence of one")
	require.Contains(t, encodeText(job, anyVersion), `"constraints":{"maxWallClockTime":"P10675199DT2H48M5.4775807S","maxTaskRetryCount":-1}`)

	task := &apiv1.Task{}
	_, err = decodeText(t, task, taskShape, `{"id":"t","commandLine":"c","constraints":{"retentionTime":"P10675199DT2H48M5.4775807S"}}`, anyVersion)
	require.NoError(t, err)
	require.Contains(t, encodeText(task, anyVersion), `"retentionTime":"P10675199DT2H48M5.4775807S"`, "its absence would mean a week")
}

// A list that is there and empty says that nothing of the node is mounted; without it all is.
func TestEmptyListsThatMeanSomething(t *testing.T) {
	const before, after = `{"id":"t","commandLine":"c","containerSettings":{"imageName":"box"`, `}}`
	for list, nothing := range map[string]bool{"": false, `,"containerHostBatchBindMounts":[]`: true, `,"containerHostBatchBindMounts":[{"source":"Task"}]`: false} {
		task := &apiv1.Task{}
		_, err := decodeText(t, task, taskShape, before+list+after, anyVersion)
		require.NoError(t, err)
		require.Equal(t, nothing, task.ContainerSettings.NoContainerHostBatchBindMounts, list)
		require.Contains(t, encodeText(task, anyVersion), `"containerSettings":{"imageName":"box"`+list+`}`)
	}
	task := &apiv1.Task{}
	_, err := decodeText(t, task, taskShape, before+`,"noContainerHostBatchBindMounts":true`+after, anyVersion)
	require.NoError(t, err)
	require.False(t, task.ContainerSettings.NoContainerHostBatchBindMounts, "JSON has no such member")
}

func TestDecodeRefuses(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70)
	for _, c := range []struct{ body, version, code, property string }{
		{``, anyVersion, "InvalidRequestBody", ""},
		{`[]`, anyVersion, "InvalidRequestBody", ""},
		{`{"id":"p"`, anyVersion, "InvalidRequestBody", ""},
		{`{"id":"p",}`, anyVersion, "InvalidRequestBody", ""},
		{`{"id":"p","vmSize":"x"} x`, anyVersion, "InvalidRequestBody", ""},
		{`{"id":"p","vmSize":"x"}` + "\x00", anyVersion, "InvalidRequestBody", ""},
		{"{\"id\":\"p\xff\"}", anyVersion, "InvalidRequestBody", ""},
		{"{\"id\":\"p\nq\"}", anyVersion, "InvalidRequestBody", ""},
		{`{"id":"\x"}`, anyVersion, "InvalidRequestBody", ""},
		{`{"id":"\u12g4"}`, anyVersion, "InvalidRequestBody", ""},
		{`{"targetDedicatedNodes":01}`, anyVersion, "InvalidRequestBody", ""},
		{`{"targetDedicatedNodes":1.}`, anyVersion, "InvalidRequestBody", ""},
		{`{"x":` + deep + `}`, anyVersion, "InvalidRequestBody", ""},
		{`{"vmSize":"x"}`, anyVersion, "MissingRequiredProperty", "id"},
		{`{"id":null,"vmSize":"x"}`, anyVersion, "MissingRequiredProperty", "id"},
		{`{"id":"p","vmSize":"x","metadata":[{"name":"a","value":"b"},{"name":"c"}]}`, anyVersion, "MissingRequiredProperty", "metadata[1].value"},
		{`{"id":"p","vmSize":"x","startTask":{}}`, anyVersion, "MissingRequiredProperty", "startTask.commandLine"},
		{`{"id":7,"vmSize":"x"}`, anyVersion, "InvalidPropertyValue", "id"},
		{`{"metadata":{}}`, anyVersion, "InvalidPropertyValue", "metadata"},
		{`{"metadata":[null]}`, anyVersion, "InvalidPropertyValue", "metadata[0]"},
		{`{"startTask":"x"}`, anyVersion, "InvalidPropertyValue", "startTask"},
		{`{"targetDedicatedNodes":"2"}`, anyVersion, "InvalidPropertyValue", "targetDedicatedNodes"},
		{`{"targetDedicatedNodes":2.5}`, anyVersion, "InvalidPropertyValue", "targetDedicatedNodes"},
		{`{"targetDedicatedNodes":4294967296}`, anyVersion, "InvalidPropertyValue", "targetDedicatedNodes"},
		{`{"enableAutoScale":"true"}`, anyVersion, "InvalidPropertyValue", "enableAutoScale"},
		{`{"taskSchedulingPolicy":{"nodeFillType":"sideways"}}`, anyVersion, "InvalidPropertyValue", "taskSchedulingPolicy.nodeFillType"},
		{`{"resizeTimeout":"15 minutes"}`, anyVersion, "InvalidPropertyValue", "resizeTimeout"},
		{`{"resizeTimeout":15}`, anyVersion, "InvalidPropertyValue", "resizeTimeout"},
		{`{"startTask":{"resourceFiles":[{"httpUrl":"a"},{"httpUrl":1}]}}`, anyVersion, "InvalidPropertyValue", "startTask.resourceFiles[1].httpUrl"},
		{`{"upgradePolicy":{"mode":"manual"}}`, "2022-10-01.16.0", "UnsupportedProperty", "upgradePolicy"},
		{`{"cloudServiceConfiguration":{"osFamily":"4"}}`, "2022-10-01.16.0", "UnsupportedProperty", "cloudServiceConfiguration"},
		{`{"applicationLicenses":["maya"]}`, "2022-10-01.16.0", "UnsupportedProperty", "applicationLicenses"},
		{`{"certificateReferences":[{"thumbprint":"a"}]}`, "2022-10-01.16.0", "InvalidCertificateReferences", "certificateReferences"},
		{`{"virtualMachineConfiguration":{"dataDisks":[{"storageAccountType":"floppy"}]}}`, "2022-10-01.16.0", "InvalidPropertyValue", "virtualMachineConfiguration.dataDisks[0].storageAccountType"},
	} {
		_, err := decodeText(t, &apiv1.Pool{}, poolShape, c.body, c.version)
		var e *batcherr.Error
		require.ErrorAs(t, err, &e, c.body)
		require.Equal(t, c.code, e.Code, c.body)
		property, _ := e.Value("PropertyName")
		require.Equal(t, c.property, property, c.body)
		require.Less(t, e.HTTPStatus(), 500, c.body)
	}
}

func TestDecodeKeepsSecretsOutOfErrors(t *testing.T) {
	for _, body := range []string{`{"userAccounts":[{"password":12345}]}`, `{"userAccounts":[{"password":{"a":12345}}]}`} {
		_, err := decodeText(t, &apiv1.Pool{}, poolShape, body, anyVersion)
		var e *batcherr.Error
		require.ErrorAs(t, err, &e)
		value, _ := e.Value("PropertyValue")
		require.Empty(t, value)
		require.NotContains(t, e.Error(), "12345")
	}
}

func TestDecodeLimits(t *testing.T) {
	c := newCodec(messages()...)
	s := newShapes(c).poolCreate
	for _, test := range []struct {
		limits Limits
		body   string
	}{
		{Limits{Body: 40}, `{"id":"0123456789012345678901234567890123456789"}`},
		{Limits{Elements: 4}, `{"metadata":[{"name":"a","value":"b"},{"name":"a","value":"b"},{"name":"a","value":"b"},{"name":"a","value":"b"}]}`},
	} {
		d := newDecoder(strings.NewReader(test.body), anyVersion, test.limits.orDefault())
		var e *batcherr.Error
		require.ErrorAs(t, d.decode(&apiv1.Pool{}, s, false), &e)
		require.Equal(t, "RequestBodyTooLarge", e.Code)
		require.Equal(t, 413, e.HTTPStatus())
	}
	// The part of the body that settles the matter is the only one that is read.
	source := &countingReader{source: io.MultiReader(strings.NewReader(`{"id":5,`), endless{})}
	d := newDecoder(source, anyVersion, DefaultLimits())
	require.True(t, batcherr.HasCode(d.decode(&apiv1.Pool{}, s, false), "InvalidPropertyValue"))
	require.LessOrEqual(t, source.n, 2*readChunk)
	d = newDecoder(iotest.ErrReader(errors.New("connection lost")), anyVersion, DefaultLimits())
	require.True(t, batcherr.HasCode(d.decode(&apiv1.Pool{}, s, false), "InvalidRequestBody"))
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

type countingReader struct {
	source io.Reader
	n      int
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.source.Read(p)
	r.n += n
	return n, err
}

func TestDecodeCleared(t *testing.T) {
	update := &apiv1.PoolUpdateOptions{}
	cleared, err := decodeText(t, update, func(c *codec) *shape { return c.shapeOf(update) },
		`{"metadata":[],"applicationPackageReferences":null,"startTask":{"commandLine":"c","resourceFiles":[]}}`, anyVersion)
	require.NoError(t, err)
	require.Equal(t, []string{"metadata"}, cleared)
}

func TestDecodeOutputOnlyIsIgnored(t *testing.T) {
	job := &apiv1.Job{}
	_, err := decodeText(t, job, func(c *codec) *shape { return newShapes(c).jobReplace },
		`{"id":"other","state":"whatever","eTag":5,"priority":7,"poolInfo":{"poolId":"p"},"executionInfo":{"startTime":"x"}}`, anyVersion)
	require.NoError(t, err)
	require.Empty(t, job.GetId())
	require.Equal(t, int32(7), job.GetPriority())
}

func TestDecodeOlderThanUntil(t *testing.T) {
	const body = `{"id":"t","commandLine":"c","authenticationTokenSettings":{"access":["job"]}}`
	task := &apiv1.Task{}
	_, err := decodeText(t, task, taskShape, body, "2024-07-01.20.0")
	require.NoError(t, err)
	require.Equal(t, []string{"job"}, task.GetAuthenticationTokenSettings().GetAccess())
	require.NotContains(t, encodeText(task, anyVersion), "authenticationTokenSettings")
	require.Contains(t, encodeText(task, "2024-07-01.20.0"), "authenticationTokenSettings")
	task = &apiv1.Task{}
	_, err = decodeText(t, task, taskShape, body, anyVersion)
	require.NoError(t, err)
	require.Nil(t, task.GetAuthenticationTokenSettings())
}

func TestDecodeRefusedProperties(t *testing.T) {
	for body, want := range map[string]string{
		`{"id":"p","vmSize":"x","metadata":[{"name":"a","value":"b"}]}`: "UnsupportedProperty",
		`{"id":"p","vmSize":"x","metadata":[]}`:                         "",
		`{"id":"p","vmSize":"x","metadata":null}`:                       "",
	} {
		c := everything()
		c.table(&apiv1.Pool{}).byName["metadata"].rule = &apiv1.Rule{Support: apiv1.Support_SUPPORT_REFUSED, Note: "not here"}
		err := newDecoder(strings.NewReader(body), anyVersion, DefaultLimits()).decode(&apiv1.Pool{}, newShapes(c).poolCreate, false)
		if want == "" {
			require.NoError(t, err)
			continue
		}
		var e *batcherr.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, []batcherr.Value{{Key: "PropertyName", Value: "metadata"}, {Key: "Reason", Value: "not here"}}, e.Values)
	}
}

func TestEncodeVersions(t *testing.T) {
	counts := &apiv1.PoolNodeCounts{PoolId: "p", Dedicated: &apiv1.NodeCounts{Idle: 1, Total: 1}}
	require.Equal(t, `{"poolId":"p","dedicated":{"creating":0,"idle":1,"offline":0,"preempted":0,"rebooting":0,"reimaging":0,"running":0,`+
		`"starting":0,"startTaskFailed":0,"leavingPool":0,"unknown":0,"unusable":0,"waitingForStartTask":0,"total":1}}`,
		encodeText(counts, "2022-10-01.16.0"))
	require.Contains(t, encodeText(counts, anyVersion), `"deallocated":0,"deallocating":0,"upgradingOS":0,"total":1`)

	disk := &apiv1.Pool{VirtualMachineConfiguration: &apiv1.VirtualMachineConfiguration{DataDisks: []*apiv1.DataDisk{{
		DiskSizeGb: 5, ManagedDisk: &apiv1.ManagedDisk{StorageAccountType: apiv1.StorageAccountType_STORAGE_ACCOUNT_TYPE_STANDARD_LRS},
	}}}}
	require.Contains(t, encodeText(disk, "2022-10-01.16.0"), `{"lun":0,"diskSizeGB":5,"managedDisk":{"storageAccountType":"standard_lrs"},"storageAccountType":"standard_lrs"}`)
	require.Contains(t, encodeText(disk, anyVersion), `{"lun":0,"diskSizeGB":5,"managedDisk":{"storageAccountType":"standard_lrs"}}`)
}

func TestEncodeNeverWritesSecrets(t *testing.T) {
	pool := &apiv1.Pool{
		UserAccounts: []*apiv1.UserAccount{{Name: "u", Password: "hush", LinuxUserConfiguration: &apiv1.LinuxUserConfiguration{SshPrivateKey: "hush"}}},
		MountConfiguration: []*apiv1.MountConfiguration{{
			AzureBlobFileSystemConfiguration: &apiv1.AzureBlobFileSystemConfiguration{AccountName: "a", AccountKey: "hush", SasKey: "hush"},
			CifsMountConfiguration:           &apiv1.CifsMountConfiguration{Username: "u", Password: "hush"},
			AzureFileShareConfiguration:      &apiv1.AzureFileShareConfiguration{AccountName: "a", AccountKey: "hush"},
		}},
	}
	require.NotContains(t, encodeText(pool, anyVersion), "hush")
}

func TestEncodeText(t *testing.T) {
	task := &apiv1.Task{Id: "t", CommandLine: "a\"b\\c\n\t\x01\x7fé😀\xff"}
	require.Contains(t, encodeText(task, anyVersion), `"commandLine":"a\"b\\c\n\t\u0001\u007fé😀�"`)
	require.Contains(t, encodeText(task, anyVersion), `"url":"https://h/jobs/j/tasks/t"`)
}

func TestSelect(t *testing.T) {
	c := newCodec(messages()...)
	table := c.table(&apiv1.Task{})
	task := &apiv1.Task{Id: "t", ExecutionInfo: &apiv1.TaskExecutionInfo{RetryCount: 3, RequeueCount: 4}, CommandLine: "c"}
	for text, want := range map[string]string{
		"id":                                     `{"id":"t"}`,
		"id, commandLine":                        `{"id":"t","commandLine":"c"}`,
		"executionInfo/retryCount":               `{"executionInfo":{"retryCount":3}}`,
		"executionInfo/retryCount,executionInfo": `{"executionInfo":{"retryCount":3,"requeueCount":4}}`,
		"executionInfo,executionInfo/retryCount": `{"executionInfo":{"retryCount":3,"requeueCount":4}}`,
		"url":                                    `{"url":"https://h/jobs/j/tasks/t"}`,
		",stats,":                                `{}`,
	} {
		s, err := parseSelect(text, table)
		require.NoError(t, err, text)
		e := &encoder{codec: c, version: anyVersion, links: links{base: "https://h", job: "j"}}
		require.Equal(t, want, string(e.object(nil, task, s)), text)
	}
	for _, text := range []string{"nosuch", "id/x", "executionInfo/nosuch", "executionInfo/"} {
		_, err := parseSelect(text, table)
		if text == "executionInfo/" {
			require.NoError(t, err)
			continue
		}
		require.True(t, batcherr.HasCode(err, "InvalidQueryParameterValue"), text)
	}
	s, err := parseSelect("state,executionInfo/exitCode", table)
	require.NoError(t, err)
	require.Equal(t, "executionInfo,id,state", s.forServices(table))
	older, err := parseSelect("id,certificateReferences", c.table(&apiv1.Pool{}))
	require.NoError(t, err)
	require.Equal(t, "id", older.forServices(c.table(&apiv1.Pool{})))
}

func FuzzDecode(f *testing.F) {
	c := everything()
	shapes := []*shape{newShapes(c).poolCreate, newShapes(c).jobCreate, newShapes(c).taskCreate, newShapes(c).scheduleCreate}
	make := []func() proto.Message{
		func() proto.Message { return &apiv1.Pool{} }, func() proto.Message { return &apiv1.Job{} },
		func() proto.Message { return &apiv1.Task{} }, func() proto.Message { return &apiv1.JobSchedule{} },
	}
	f.Add([]byte(`{"id":"a","vmSize":"b","metadata":[{"name":"\ud83d\ude00","value":"x"}],"resizeTimeout":"PT5M"}`))
	f.Add([]byte(`{"id":"a","commandLine":"b","constraints":{"maxWallClockTime":"P1D"},"environmentSettings":[{"name":"A"}]}`))
	f.Add([]byte(`{"id":"a","poolInfo":{"autoPoolSpecification":{"poolLifetimeOption":"job","pool":{"vmSize":"x","virtualMachineConfiguration":{"extensions":[{"settings":{"a":[[[1]]]}}]}}}}}`))
	f.Add([]byte(`{"schedule":{"doNotRunUntil":"2024-01-01T00:00:00Z"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for i, s := range shapes {
			m := make[i]()
			d := newDecoder(strings.NewReader(string(body)), anyVersion, DefaultLimits())
			if err := d.decode(m, s, false); err != nil {
				require.Less(t, batcherr.From(err).HTTPStatus(), 500)
				continue
			}
			_, err := proto.Marshal(m) // refuses texts that are not UTF-8
			require.NoError(t, err)
			e := &encoder{codec: c, version: anyVersion}
			once := e.object(nil, m, nil)
			again := make[i]()
			writable := &shape{table: s.table, writable: s.writable}
			require.NoError(t, newDecoder(strings.NewReader(string(once)), anyVersion, DefaultLimits()).decode(again, writable, false), string(once))
		}
	})
}

func BenchmarkTaskCollection(b *testing.B) {
	var body strings.Builder
	body.WriteString(`{"value":[`)
	for i := range 100 {
		if i > 0 {
			body.WriteByte(',')
		}
		body.WriteString(`{"id":"task-` + strings.Repeat("0", i%5) + `","commandLine":"/bin/sh -c 'echo $AZ_BATCH_TASK_ID'","environmentSettings":[{"name":"A","value":"1"},{"name":"B","value":"2"}],"constraints":{"maxTaskRetryCount":3,"retentionTime":"PT1H"}}`)
	}
	body.WriteString(`]}`)
	c := newCodec(messages()...)
	s := newShapes(c).taskCreate
	b.SetBytes(int64(body.Len()))
	b.ReportAllocs()
	for b.Loop() {
		d := newDecoder(strings.NewReader(body.String()), anyVersion, DefaultLimits())
		d.peek()
		err := d.members(func([]byte) error {
			d.peek()
			return d.elementsOf(func(int) error {
				return d.object((&apiv1.Task{}).ProtoReflect(), s.table, s.writable, s.required)
			})
		})
		require.NoError(b, err)
	}
}

func BenchmarkListTasks(b *testing.B) {
	task := &apiv1.Task{}
	d := newDecoder(strings.NewReader(`{"id":"t","commandLine":"/bin/sh -c 'echo'","environmentSettings":[{"name":"A","value":"1"}],"constraints":{"maxTaskRetryCount":3,"retentionTime":"PT1H"}}`), anyVersion, DefaultLimits())
	c := newCodec(messages()...)
	require.NoError(b, d.decode(task, newShapes(c).taskCreate, false))
	b.ReportAllocs()
	for b.Loop() {
		e := &encoder{codec: c, version: anyVersion, links: links{base: "https://h", job: "j"}}
		var buf []byte
		for range 1000 {
			buf = e.object(buf, task, nil)
		}
	}
}
