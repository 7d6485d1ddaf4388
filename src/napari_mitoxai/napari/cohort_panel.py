"""The Cohort tab: the sections of a study, what stands against training on them, and the table that is kept of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from napari.utils.notifications import show_error, show_info
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QMessageBox, QPushButton, QWidget

from napari_mitoxai.cohort import (
    TABLE,
    Member,
    Survey,
    read_cohort,
    read_members,
    read_table,
    with_groups,
    write_table,
)
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.common.files import remove
from napari_mitoxai.napari.cohort_table import CohortTable
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.layers import channel_layers
from napari_mitoxai.napari.opening import open_section
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import cache_folder, suggest
from napari_mitoxai.napari.runner import Outcome
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.cohort import CohortParameters, groups_of

_REMARKS = 12  # sentences below the table; the others are counted
_USUAL_GROUPS = ("control", "patient")


@dataclass
class _Listing:
    """What the thread finds, as far as it is."""

    source: Path | None = None
    survey: Survey | None = None
    draft: bool = False  # whether changes from earlier lie about


class CohortPanel(TaskPanel):
    """A folder or a table becomes rows that can be corrected, saved and trained on."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "cohort_panel")
        self.form = Form(CohortParameters, leave_out=("out",))
        self.table = CohortTable()
        self._listing = _Listing()
        self._shown: Survey | None = None
        self._known = 0
        self._by_hand = True  # whether a change is the user's
        self._edits = False  # whether something was changed that no table holds
        self._kept: Path | None = None  # the table that holds what is shown
        self._about = wrapped(
            "Choose a folder with the sections, as controls/C01 and patients/P01, or a CSV table, and press List.",
            "cohort_about",
        )
        self._remarks = wrapped(name="cohort_remarks")
        self._group = QComboBox()
        self._group.setObjectName("group_choice")
        self._group.setEditable(True)
        self._group.addItems(_USUAL_GROUPS)
        self._set_group = QPushButton("Set group of selected")
        self._set_group.setObjectName("set_group")
        self._set_group.clicked.connect(self._on_set_group)
        folder = QPushButton("Folder…")
        folder.setObjectName("choose_folder")
        folder.clicked.connect(self._choose_folder)
        self.add(self.form)
        self.add(
            self.starter("List", "list", self._start, ready=lambda: bool(self.form.field("path").value())),
            self.starter("Count patches", "count", self._count, ready=self._listed),
            folder,
        )
        self.add(self._about)
        self.add(self.table)
        self._editing = _line(self._group, self._set_group)
        self.add(self._editing)
        self._save = QPushButton("Save table…")
        self._save.setObjectName("save_table")
        self._save.clicked.connect(self.save)
        self._use = self.starter("Use for training", "use_cohort", self.use, ready=self._listed)
        self.add(self._use, self._save)
        self.add(self._remarks)
        self._column.addStretch(1)
        self.form.changed.connect(self.refresh_starters)
        self.table.edited.connect(self._on_edited)
        self.table.opened.connect(self.open_row)
        state.cohort_changed.connect(self._on_cohort)
        if state.cohort is not None:
            self._on_cohort(state.cohort)
        self._show()

    # --- listing --------------------

    def _choose_folder(self) -> None:
        start = self.form.field("path").value() or str(Path.home())
        chosen = QFileDialog.getExistingDirectory(self, "Choose the folder of a study", start)
        if chosen:
            self.form.set_values({"path": chosen})

    def _on_cohort(self, path: Path | None) -> None:
        """A cohort that was chosen elsewhere can be listed with one click."""
        if path is not None and path != self._kept and not self._edits:
            self.form.set_values({**self._state.suggestions, "path": path})

    def _start(self) -> None:
        parameters = self.form.parameters()
        if self._edits and not self._may_lose():
            return
        if self._edits and self._listing.source is not None:
            remove(_draft_of(self._listing.source))
        listing = _Listing()

        def work(progress: ProgressCallback, cancel: CancelToken) -> None:
            progress(Progress("Finding sections", 0, 0))
            listing.source, members = read_members(parameters.path, lenient=True, cancel=cancel)
            listing.draft = _draft_of(listing.source).exists()
            listing.survey = Survey(with_groups(members, parameters.groups))
            listing.survey.look(progress, cancel)
            if not parameters.quick:
                listing.survey.read(parameters.patch_size, parameters.overlap, progress, cancel)

        def end(outcome: Outcome) -> None:
            self._state.runner.ticked.disconnect(self._on_tick)
            if listing.survey is None:
                return
            self._on_tick()
            self._propose(listing)

        if self._state.runner.run("Listing the cohort", work, on_end=end, quiet=True):
            self._listing = listing
            self._state.runner.ticked.connect(self._on_tick)

    def _propose(self, listing: _Listing) -> None:
        """Leave out what cannot be read and what repeats another section, and offer what was changed and never saved."""
        survey, source = listing.survey, listing.source
        if survey is None or source is None:
            return
        self._by_hand = False
        rows = sorted(row for row in survey.to_leave_out() if survey.members[row].include)
        self.table.change(rows, include=False)
        self._by_hand = True
        if listing.draft:
            if self._wants_draft():
                self._take(survey, read_table(_draft_of(source), lenient=True))
            else:
                remove(_draft_of(source))
        self._show()

    def _on_tick(self) -> None:
        """Show what the thread has found since the last look."""
        survey = self._listing.survey
        if survey is None:
            return
        if survey is not self._shown:
            self._shown, self._known, self._edits = survey, -1, False
            source = self._listing.source
            self._kept = source if source is not None and source.is_file() else None
            self.table.show_survey(survey)
        known = len(survey.looks) + sum(each is not None for each in survey.patches)
        if known != self._known:
            self._known = known
            self.table.refresh()
            self._show()

    def _count(self) -> None:
        survey, parameters = self._shown, self.form.parameters()
        if survey is None:
            return

        def work(progress: ProgressCallback, cancel: CancelToken) -> None:
            survey.look(progress, cancel)
            survey.read(parameters.patch_size, parameters.overlap, progress, cancel)

        def end(outcome: Outcome) -> None:
            self._state.runner.ticked.disconnect(self._on_tick)
            self.table.refresh()
            self._show()

        if self._state.runner.run("Counting patches", work, on_end=end, quiet=True):
            self._state.runner.ticked.connect(self._on_tick)

    # --- what is shown --------------------

    def _listed(self) -> bool:
        return self._shown is not None and bool(self._shown.members)

    def _show(self) -> None:
        survey = self._shown
        for widget in (self.table, self._editing, self._save, self._use, self._remarks):
            widget.setVisible(survey is not None)
        if survey is not None:
            self._about.setText(self._summary(survey))
            self._remarks.setText(_remarks_html(survey))
        self.refresh_starters()

    def _summary(self, survey: Survey) -> str:
        groups = groups_of(survey.members)
        parts = [
            f"{len(names)} {escape(group) if group else 'without a group'}"
            for group, names in sorted(groups.items())
        ]
        sections = sum(member.include for member in survey.members)
        subjects = len({name for names in groups.values() for name in names})
        common = survey.common()
        told = f"<b>{sections} sections of {subjects} subjects</b>: {', '.join(parts) or 'none takes part'}"
        if survey.looks:
            told += f" · {len(common)} channel{'' if len(common) == 1 else 's'} in every section"
        if any(survey.patches):
            told += f" · {sum(each or 0 for each, member in zip(survey.patches, survey.members, strict=False) if member.include):,} patches"
        kept = f"in {escape(self._kept.name)}" if self._kept is not None else "not saved as a table"
        return f"{told}<br>{'changed, not saved yet' if self._edits else kept}"

    # --- editing --------------------

    def _on_edited(self) -> None:
        self._edits = True
        source = self._listing.source
        if self._by_hand and self._shown is not None and source is not None:
            try:  # the window may close before it is saved
                write_table(_draft_of(source), self._shown.members, overwrite=True)
            except MitoxaiError as error:
                show_error(str(error))
        self._show()

    def _wants_draft(self) -> bool:
        yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
        question = "This cohort was changed earlier, and the changes were never saved. Take them up?"
        return QMessageBox.question(self, "Changes from earlier", question, yes | no) == yes

    def _take(self, survey: Survey, drafted: Sequence[Member]) -> None:
        known = {(member.path, member.acquisition): member for member in drafted}
        for row, member in enumerate(survey.members):
            earlier = known.get((member.path, member.acquisition))
            if earlier is not None:
                survey.members[row] = replace(
                    member, subject=earlier.subject, group=earlier.group, include=earlier.include
                )
        self._edits = True
        self.table.refresh()

    def _on_set_group(self) -> None:
        rows = self.table.selected_rows()
        if not rows:
            show_info("Select the rows of the sections first.")
        self.table.change(rows, group=self._group.currentText().strip())

    def _may_lose(self) -> bool:
        answer = QMessageBox.question(
            self, "Changes that are not saved",
            "The changes to the cohort are in no table yet. List again and lose them?",
            QMessageBox.StandardButton.Discard | QMessageBox.StandardButton.Cancel,
        )  # fmt: skip
        return answer == QMessageBox.StandardButton.Discard

    def open_row(self, row: int) -> None:
        """Open the section of a row in the window."""
        if self._shown is None:
            return
        try:
            section = open_section(self._shown.members[row].address, self._state.display)
            layers = channel_layers(section, display=self._state.display)
        except MitoxaiError as error:
            show_error(str(error))
            return
        for layer in layers:
            self._state.add_layer(layer)

    # --- keeping --------------------

    def save(self) -> bool:
        """Ask for a name, and write the table; an existing file is replaced only after the dialog has asked."""
        survey, source = self._shown, self._listing.source
        if survey is None or source is None:
            return False
        # a folder's own table lies in it: that of a table, beside it
        place = self._kept or suggest(source / TABLE if source.is_dir() else source, Path(TABLE).stem, ".csv")
        chosen = QFileDialog.getSaveFileName(self, "Save the cohort", str(place), "CSV table (*.csv)")[0]
        if not chosen:
            return False
        path = Path(chosen if chosen.lower().endswith(".csv") else f"{chosen}.csv")
        if str(path) != chosen and path.exists():  # the dialog has asked about another name
            show_error(f"{path} exists already: choose another name.")
            return False
        try:
            write_table(path, survey.members, overwrite=True)
        except MitoxaiError as error:
            show_error(str(error))
            return False
        remove(_draft_of(source))
        self._kept, self._edits = path, False
        self._show()
        return True

    def use(self) -> None:
        """Train on this cohort: it is saved first, where it is not.

        Raises
        ------
        MitoxaiError
            If it cannot be trained on: one sentence.
        """
        if (self._edits or self._kept is None) and not self.save():
            return
        assert self._kept is not None
        read_cohort(self._kept)
        known = self._state.suggestions if self._state.cohort == self._kept else {}
        patch_size = self.form.field("patch_size").value()
        self._state.set_cohort(self._kept, **{**known, "patch_size": patch_size})
        show_info(f"{self._kept.name} is what Train uses now.")


def _draft_of(source: Path) -> Path:
    """Where changes to a cohort are kept until they are saved."""
    name = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]
    return cache_folder() / "cohort-drafts" / f"{name}.csv"


def _line(*widgets: QWidget) -> QWidget:
    line = QWidget()
    layout = QHBoxLayout(line)
    layout.setContentsMargins(0, 0, 0, 0)
    for index, widget in enumerate(widgets):
        layout.addWidget(widget, int(index == 0))
    return line


def _remarks_html(survey: Survey) -> str:
    """Broken sections, pictures that are there twice, subjects in two groups: a sentence each."""
    broken = [
        (member.label, look.problem)
        for member, look in zip(survey.members, survey.looks, strict=False)
        if look.problem
    ]
    sentences = [f"<b>{escape(label)}</b>: {escape(problem)}" for label, problem in broken]
    sentences += [f"<b>Same image</b>: {escape(each.sentence(survey.members))}" for each in survey.same()]
    groups = groups_of(survey.members)
    for subject in dict.fromkeys(name for names in groups.values() for name in names):
        own = [group or "no group" for group, names in groups.items() if subject in names]
        if len(own) > 1:
            sentences.append(f"<b>{escape(subject)}</b> is in {escape(' and '.join(own))}.")
    if len(sentences) > _REMARKS:
        sentences = [*sentences[:_REMARKS], f"… and {len(sentences) - _REMARKS} more."]
    return "<br>".join(sentences)
