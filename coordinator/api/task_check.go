package api

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

// maxSpecBytes is the largest specification of a task, serialised.
const maxSpecBytes = 1 << 20

// checkSpec says what is wrong with what tasks may share: all but id, display name, command line and dependencies. It normalises limits.
func (c *core) checkSpec(t *apiv1.Task, job *apiv1.Job) error {
	if proto.Size(t) > maxSpecBytes {
		return batcherr.Of(batcherr.CodeRequestEntityTooLarge).With(batcherr.ValueReason, "A task takes at most 1 MiB.")
	}
	if err := c.rules.check(t, ""); err != nil {
		return err
	}
	if s := t.RequiredSlots; s != nil && (*s < 1 || *s > lifecycle.MaxSlotsPerNode) {
		return invalidNumber("requiredSlots", *s, "A task needs 1 to 256 slots.")
	}
	if err := checkInstances("multiInstanceSettings", t); err != nil {
		return err
	}
	if err := checkContainer("containerSettings", t.ContainerSettings); err != nil {
		return err
	}
	if err := checkTaskConstraints("constraints", t.Constraints); err != nil {
		return err
	}
	if err := checkEnvironment("environmentSettings", t.EnvironmentSettings); err != nil {
		return err
	}
	for i, f := range t.ResourceFiles {
		if err := checkResourceFile(path("resourceFiles").index(i), f); err != nil {
			return err
		}
	}
	for i, f := range t.OutputFiles {
		if err := checkOutputFile(path("outputFiles").index(i), f); err != nil {
			return err
		}
	}
	if err := checkPackages("applicationPackageReferences", t.ApplicationPackageReferences); err != nil {
		return err
	}
	if err := checkToken("authenticationTokenSettings", t.AuthenticationTokenSettings); err != nil {
		return err
	}
	if err := checkUser("userIdentity", t.UserIdentity); err != nil {
		return err
	}
	return checkExitConditions("exitConditions", t.ExitConditions, job)
}

// checkInstances says what is wrong with a multi-instance task. Whether its pool can run it is not looked at: another pool may.
func checkInstances(at path, t *apiv1.Task) error {
	m := t.MultiInstanceSettings
	if m == nil {
		return nil
	}
	if t.ContainerSettings != nil {
		return unsupported("containerSettings", "multi-instance tasks do not run in containers: have the command start the program in one")
	}
	if n := m.NumberOfInstances; n != nil && (*n < 1 || *n > lifecycle.MaxInstances) {
		return invalidNumber(at.at("numberOfInstances"), *n, "A task has 1 to 1000 instances.")
	}
	if t.RequiredSlots != nil && *t.RequiredSlots != 1 {
		return invalidNumber("requiredSlots", *t.RequiredSlots, "A multi-instance task needs one slot of each node.")
	}
	if err := checkCommandLine(at.at("coordinationCommandLine"), m.CoordinationCommandLine, false); err != nil {
		return err
	}
	for i, f := range m.CommonResourceFiles {
		if err := checkResourceFile(at.at("commonResourceFiles").index(i), f); err != nil {
			return err
		}
	}
	return nil
}

// checkCommandLine is apart from checkSpec, since command lines often differ where all else is the same.
func checkCommandLine(at path, line string, contained bool) error {
	if line == "" {
		if contained {
			return nil // the image's own
		}
		return batcherr.MissingProperty(string(at))
	}
	for i := range len(line) {
		if c := line[i]; c > ' ' {
			break
		} else if c == 0 || i == len(line)-1 {
			return invalid(at, "", "The command line is blank.")
		}
	}
	if strings.IndexByte(line, 0) >= 0 {
		return invalid(at, "", "The command line contains the character NUL.")
	}
	return nil
}

func checkUser(at path, u *apiv1.UserIdentity) error {
	if u != nil && (u.Username != "") == (u.AutoUser != nil) {
		return invalid(at, "", "Exactly one of username and autoUser is given.")
	}
	return nil
}

func checkResourceFile(at path, f *apiv1.ResourceFile) error {
	sources := 0
	for _, s := range []string{f.AutoStorageContainerName, f.StorageContainerUrl, f.HttpUrl} {
		if s != "" {
			sources++
		}
	}
	switch {
	case sources != 1:
		return invalid(at, "", "Exactly one of autoStorageContainerName, storageContainerUrl and httpUrl is given.")
	case f.HttpUrl != "" && f.FilePath == "":
		return batcherr.MissingProperty(string(at.at("filePath")))
	case f.HttpUrl != "" && f.BlobPrefix != "":
		return invalid(at.at("blobPrefix"), f.BlobPrefix, "A prefix goes with a container only.")
	case f.AutoStorageContainerName != "" && (strings.Contains(f.AutoStorageContainerName, "/") || storage.ValidateKey(f.AutoStorageContainerName) != nil):
		return invalid(at.at("autoStorageContainerName"), f.AutoStorageContainerName, "A container's name is a plain name.")
	}
	if err := checkURL(at.at("httpUrl"), f.HttpUrl); err != nil {
		return err
	}
	if err := checkURL(at.at("storageContainerUrl"), f.StorageContainerUrl); err != nil {
		return err
	}
	if err := checkRelative(at.at("filePath"), f.FilePath); err != nil {
		return err
	}
	if !validFileMode(f.FileMode) {
		return invalid(at.at("fileMode"), f.FileMode, "A file mode is an octal number up to 0777.")
	}
	return nil
}

// checkURL holds an address that a node is to reach against the rules. Errors do not repeat it: it may be signed.
func checkURL(at path, text string) error {
	if text == "" {
		return nil
	}
	loc, err := storage.ParseLocation(text)
	if err != nil {
		return invalid(at, "", err.Error())
	}
	if loc.Scheme == storage.File {
		return invalid(at, "", "A URL begins with s3://, https:// or http://.")
	}
	return nil
}

// checkRelative refuses paths that leave the directory that they are relative to, on any operating system.
func checkRelative(at path, name string) error {
	slashed := strings.ReplaceAll(name, `\`, "/")
	if strings.HasPrefix(slashed, "/") || len(name) > 1 && name[1] == ':' {
		return invalid(at, name, "The path is relative to the task's working directory.")
	}
	for part := range strings.SplitSeq(slashed, "/") {
		if part == ".." {
			return invalid(at, name, "The path does not leave the task's working directory.")
		}
	}
	return nil
}

func validFileMode(mode string) bool {
	if mode == "" {
		return true
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(mode, "0o"), 8, 32)
	return err == nil && n <= 0o777
}

func checkOutputFile(at path, f *apiv1.OutputFile) error {
	if strings.TrimSpace(f.FilePattern) == "" {
		return invalid(at.at("filePattern"), f.FilePattern, "The pattern is blank.")
	}
	to := f.Destination.GetContainer()
	at = at.at("destination").at("container")
	if to == nil {
		return batcherr.MissingProperty(string(at))
	}
	if err := checkURL(at.at("containerUrl"), to.ContainerUrl); err != nil {
		return err
	}
	for i, h := range to.UploadHeaders {
		if strings.Trim(strings.ToLower(h.Name), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.ContainsAny(h.Value, "\r\n") {
			return invalid(at.at("uploadHeaders").index(i).at("name"), h.Name, "The header can't be sent.")
		}
	}
	return nil
}

func checkExitConditions(at path, e *apiv1.ExitConditions, job *apiv1.Job) error {
	if e == nil {
		return nil
	}
	actions := job.GetOnTaskFailure() == apiv1.TaskFailureMode_TASK_FAILURE_MODE_PERFORM_EXIT_OPTIONS_JOB_ACTION
	options := func(at path, o *apiv1.ExitOptions) error {
		if o.GetJobAction() != 0 && !actions {
			return invalid(at.at("jobAction"), "", "The job's onTaskFailure is not performexitoptionsjobaction.")
		}
		return nil
	}
	for i, m := range e.ExitCodes {
		if err := options(at.at("exitCodes").index(i).at("exitOptions"), m.ExitOptions); err != nil {
			return err
		}
	}
	for i, m := range e.ExitCodeRanges {
		here := at.at("exitCodeRanges").index(i)
		if m.Start > m.End {
			return invalidNumber(here.at("start"), m.Start, "A range starts at or before its end.")
		}
		if err := options(here.at("exitOptions"), m.ExitOptions); err != nil {
			return err
		}
	}
	if err := options(at.at("preProcessingError"), e.PreProcessingError); err != nil {
		return err
	}
	if err := options(at.at("fileUploadError"), e.FileUploadError); err != nil {
		return err
	}
	return options(at.at("default"), e.Default)
}
