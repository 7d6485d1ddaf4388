"""What the command line says of each task's result."""

from typing import Any

import typer

from napari_mitoxai.common.commands import as_typed


def _tell_next(*words: object) -> None:
    typer.echo(f"Next: {as_typed('mitoxai', *words)}")


def tell_train(result: Any) -> None:
    for call in result.metrics["subject_calls"]:
        mark = "right" if call["call"] == call["group"] else "WRONG"
        typer.echo(
            f"{call['subject']} ({call['group']}) is called {call['call']}: {mark} (probability of {list(call['probabilities'])[-1]} {call['probability']:.2f}, {call['patches']} patches)"
        )
    if result.metrics["subject_accuracy"] is not None:
        low, high = result.metrics["confidence_interval"]
        typer.echo(
            f"{'Subjects' if result.metrics.get('optimistic') else 'Held-out subjects'} called right: {result.metrics['subject_accuracy']:.0%} (95 % interval {low:.0%} to {high:.0%})"
        )
    if "permutation" in result.metrics:
        told = result.metrics["permutation"]
        typer.echo(
            f"Permuting the subjects' labels: p = {told['p']:.3g} (the smallest that this cohort can give: {told['smallest_p']:.3g})"
        )
    if result.metrics.get("optimistic"):
        typer.echo(f"Held-out patches called right: {result.metrics['patch_accuracy']:.0%}, optimistic")
    for rank, row in enumerate(result.metrics.get("mixing", {}).get("channels", []), start=1):
        typer.echo(
            f"{rank}. {row['channel']}: {_spread_of(row, 'weight_x_sd')} of the blend ({_spread_of(row, 'weight')} by weight alone)"
        )
    for row in result.metrics.get("concepts", []):
        pure = "cannot be told" if row["auc"] is None else f"{row['auc']:.2f}"
        typer.echo(
            f"Axis of {row['concept']} in {row['layer']}: purity {pure} (AUC, subjects {row['subjects']})"
        )
    for note in result.metrics["notes"]:
        typer.echo(f"Note: {note}")
    typer.echo(f"Run: {result.run}")
    _tell_next("explain", result.run, "SECTION", "--method", "grad_cam", "--out", "MAPS.ome.zarr")


def _spread_of(row: dict[str, Any], key: str) -> str:
    spread = row.get(f"{key}_sd")
    return f"{row[key]:.1%}" + (f" ± {spread:.1%}" if spread is not None else "")


def tell_sweep(result: Any) -> None:
    for row in result.rows:
        parts = [f"{row['rank']}. {row['channels']}, {row['architecture']}:"]
        if "patch_random_accuracy_mean" in row:
            spread = row["patch_random_accuracy_sd"]
            parts.append(
                f"patches at random {row['patch_random_accuracy_mean']:.1%}"
                + (f" (SD {spread:.1%})" if spread is not None else "")
                + (", optimistic;" if row["patch_random_optimistic"] else ";")
            )
        if row.get("subject_accuracy") is not None:
            parts.append(
                f"subjects left out {row['subject_accuracy']:.0%} (95 % interval {row['subject_interval_low']:.0%} to "
                f"{row['subject_interval_high']:.0%}, permutation p {row['permutation_p']:.3g}, "
                f"the smallest possible {row['smallest_p']:.3g})"
            )
        typer.echo(" ".join(parts))
    typer.echo(f"Table: {result.table}")
    typer.echo(f"Plot: {result.plot}")
    if result.mixing is not None:
        typer.echo(f"Shares of the mixed channels: {result.mixing}")
    if result.purity is not None:
        typer.echo(f"Purity of the concepts' axes: {result.purity}")


def tell_axes(result: Any) -> None:
    for row in result.purity:
        if row["auc"] is None:
            continue
        typer.echo(
            f"Axis of {row['concept']} in {row['layer']}: purity {row['auc']:.2f} (AUC, {row['examples']} examples of subjects {row['subjects']}; "
            f"the best of all axes {row['best_axis_auc']:.2f})"
        )
    for row in result.importance:
        if row["class"] == "all":
            typer.echo(
                f"Importance of {row['concept']} in {row['layer']}: {row['importance']:.2f} times the loss when switched"
            )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    for overlay in result.overlays:
        typer.echo(f"Overlay: {overlay}")
    typer.echo(f"Tables and pictures: {result.folder}")


def tell_leakage(result: Any) -> None:
    typer.echo(
        "With labels permuted by subject there is nothing to learn. What the splits report all the same:"
    )
    for split, accuracy in result.patch_accuracy.items():
        typer.echo(
            f"{split}: {accuracy:.0%} of the patches called right, {result.subject_accuracy[split]:.0%} of the subjects "
            f"({result.learnt[split]:.0%} of the patches trained on)"
        )
    typer.echo(f"Always naming the largest group: {result.chance:.0%} of the patches")
    typer.echo(result.verdict)


def tell_predict(result: Any) -> None:
    low, high = result.interval
    typer.echo(
        f"The model calls {result.section.name} {result.call}: probability of {result.last_class} {result.probability[result.last_class]:.2f} "
        f"(95 % of resampled sections: {low:.2f} to {high:.2f}; {result.agreement:.0%} of {result.patches} patches agree)"
    )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Probability map: {result.maps}")


def tell_import(result: Any) -> None:
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Run: {result.run}")
    _tell_next("predict", result.run, "SECTION", "--out", "PROBABILITY.ome.zarr")


def tell_explain(results: Any) -> None:
    for result in results.sections:
        tell_maps(result)
    if len(results.sections) == 1 and not results.failed:
        (result,) = results.sections
        _tell_next("figure", result.section, "--maps", result.maps, "--out", "FIGURE.pdf")


def tell_maps(result: Any) -> None:
    probabilities = ", ".join(f"{name} {value:.2f}" for name, value in result.verdict["probability"].items())
    what = result.section.name if result.whole else f"this part of {result.section.name}"
    typer.echo(
        f"The model calls {what} {result.verdict['call']} ({probabilities}; mean of {result.verdict['patches']} patches)."
    )
    if result.use_of_subject in ("train", "validation"):
        typer.echo(
            f"Note: the model has seen this subject ({result.use_of_subject}); its call is no evidence for new subjects."
        )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Maps for {result.target}: {result.maps}")


def tell_segment(result: Any) -> None:
    typer.echo(f"{result.fibres} fibres: {result.labels}")
    typer.echo(f"{result.analysable} of them analysable by their shape: {result.classes}")


def tell_measure(result: Any) -> None:
    typer.echo(f"{result.fibres} fibres, {len(result.columns)} columns: {result.table}")
    if result.fibres:
        told = ", ".join(f"{number} {kind}" for kind, number in result.classes.items())
        typer.echo(f"By class: {told}; {result.near_empty} hold next to nothing")
    if hasattr(result, "answers"):
        tell_answers(result)


def tell_answers(result: Any) -> None:
    from napari_mitoxai.fibres.answers import QUESTIONS, Answer, in_brief

    brief = in_brief([Answer(**answer) for answer in result.answers])
    for question, asked in QUESTIONS.items():
        said = [answer for answer in brief if answer.question == question]
        if said:
            typer.echo(asked)
        for answer in said:
            typer.echo(f"  {answer.method}: {answer.sentence}")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"All answers, protein by protein: {result.answers_file}")
    typer.echo(f"Relevance by fibre: {result.relevance}")
    typer.echo(f"By compartment: {result.compartments}")
    if result.figure is not None:
        typer.echo(f"Figure: {result.figure}")


def tell_oxphos(result: Any) -> None:
    for row in result.subjects:
        if row["deficient"] is None:
            typer.echo(f"{row['subject']}, {row['protein']}: no fibre could be called")
            continue
        interval = (
            f" (95 % {row['deficient_low']:.1%} to {row['deficient_high']:.1%})"
            if row["deficient_low"] is not None
            else ""
        )
        left_out = (
            f"; {row['left_out_deficient']:.1%} where its own fibres are not among the controls: false positives"
            if row["left_out_deficient"] is not None
            else ""
        )
        typer.echo(
            f"{row['subject']}{', control' if row['control'] else ''}, {row['protein']}: {row['deficient']:.1%} of {row['fibres']} fibres deficient{interval}{left_out}"
        )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Calls: {result.calls}")
    typer.echo(f"Proportions: {result.proportions}")
    if result.plot is not None:
        typer.echo(f"Plot: {result.plot}")


def tell_relevance(result: Any) -> None:
    typer.echo(
        f"{result.quantities} quantities of {sum(result.subjects.values())} subjects "
        f"({', '.join(f'{number} {group}' for group, number in result.subjects.items())}), one value a subject."
    )
    typer.echo(f"The smallest p that these subjects can give: {result.smallest_p:.3g}")
    for row in result.first:
        typer.echo(
            f"  {row['method']}, {row['quantity']}: {row['group']} {row['median']:.3g}, {row['reference']} {row['median_reference']:.3g} "
            f"(medians; p = {row['p']:.3g}, adjusted {row['q']:.3g})"
        )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Table: {result.table}")
    if result.figure is not None:
        typer.echo(f"Figure: {result.figure}")


def tell_aggregate(result: Any) -> None:
    channels = f", channels {', '.join(result.channels)}" if result.channels else ""
    typer.echo(
        f"{result.checkpoints} checkpoints on {result.section} combined: {', '.join(result.methods)}{channels}."
    )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Combined maps: {result.maps}")


def tell_agree(result: Any) -> None:
    typer.echo(
        f"{len(result.methods)} methods, {result.sections} section{'s' if result.sections > 1 else ''} of "
        f"{result.subjects} subject{'s' if result.subjects > 1 else ''}. Rank correlation over pixels:"
    )
    for pair in result.pairs:
        value = "no number" if pair["value"] != pair["value"] else f"{pair['value']:.2f}"
        interval = (
            f" (95 % interval {pair['low']:.2f} to {pair['high']:.2f})" if pair["low"] == pair["low"] else ""
        )
        typer.echo(f"  {pair['method_a']}, {pair['method_b']}: {value}{interval}")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Table: {result.table}")
    if result.by_fibre is not None:
        typer.echo(f"Inside each fibre: {result.by_fibre}")
    if result.figure is not None:
        typer.echo(f"Figure: {result.figure}")


def tell_trust(result: Any) -> None:
    from napari_mitoxai.trust.checks import SCORES
    from napari_mitoxai.trust.recorded import FAILS, in_numbers, rests_on

    typer.echo(
        f"{result.patches} patches, the same for every method; maps for {result.target}. Means (95 % intervals):"
    )
    by_score: dict[str, list[dict[str, Any]]] = {}
    for row in result.scores:
        by_score.setdefault(row["score"], []).append(row)
    for name, rows in by_score.items():
        fullest = max(rows, key=lambda row: row["patches"])
        typer.echo(f"{SCORES[name].title}, {SCORES[name].better} is better; {rests_on(fullest)}:")
        sign = -1 if SCORES[name].better == "higher" else 1
        # nan has no place in an order
        for row in sorted(rows, key=lambda row: (row["value"] != row["value"], sign * row["value"])):
            fewer = f"; {row['patches']} patches" if row["patches"] < fullest["patches"] else ""
            fails = f"  {FAILS}" if name == "randomisation_rank" and row["fails_sanity"] else ""
            typer.echo(f"  {row['method']}: {in_numbers(row)}{fewer}{fails}")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    if result.known:
        typer.echo(f"{result.known} of {result.known + result.computed} checks were known from before.")
    typer.echo(f"Table: {result.table}")
    for what, path in (
        ("Curves", result.curves),
        ("Figure", result.figure),
        ("Kept with the maps", result.maps),
    ):
        if path is not None:
            typer.echo(f"{what}: {path}")


def tell_channels(result: Any) -> None:
    typer.echo(f"Channels by their mean rank over the ways: {', '.join(result.channels)}")
    typer.echo("Rank correlation of the ways:")
    for pair in result.pairs:
        typer.echo(f"  {pair['way_a']}, {pair['way_b']}: {pair['correlation']:.2f}")
    typer.echo(
        f"With {len(result.channels)} channels one order in twenty reaches {result.chance:.2f} or -{result.chance:.2f} by chance."
    )
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Table: {result.table}")
    typer.echo(f"Plot: {result.plot}")


def tell_concepts(result: Any) -> None:
    for concept, subjects in result.counts.items():
        told = ", ".join(f"{subject} {number}" for subject, number in subjects.items())
        typer.echo(f"{concept}: {sum(subjects.values())} examples ({told})")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Concepts: {result.concepts}")
    _tell_next("tcav", "RUN", result.concepts, "--out", "DIR")


def tell_tcav(result: Any) -> None:
    for sentence in result.sentences:
        typer.echo(sentence)
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Table: {result.table}")
    typer.echo(f"Plot: {result.plot}")


def tell_embed(result: Any) -> None:
    typer.echo(f"{result.patches} patches of {result.subjects} subject{'s' if result.subjects > 1 else ''}.")
    for sentence in result.said:
        typer.echo(sentence)
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Coordinates: {result.table}")
    typer.echo(f"Numbers: {result.numbers}")
    typer.echo(f"Figure: {result.figure}")


def tell_analysis(result: Any) -> None:
    for number, step in enumerate(result.steps, 1):
        took = f", {step.seconds:.0f} s" if step.state == "done" else ""
        typer.echo(f"{number}. {step.task}: {step.state}{took}")
        for path in step.writes:
            typer.echo(f"   {path}")


def tell_planted(result: Any) -> None:
    for model in result.models:
        typer.echo(
            f"{model['signal']}, seed {model['seed']}: {model['accuracy']:.0%} of the held-out patches called right; of {model['held_out']} "
            f"that show the signal {model['right']} right, {model['confident']} with confidence, {model['explained']} explained"
        )
    signals = len({model["signal"] for model in result.models if model["explained"]})
    typer.echo(
        f"Methods by their mean place over {signals} signal{'s' if signals > 1 else ''} (relevance mass in the planted truth):"
    )
    for row in result.ranking:
        interval = f" ({row['low']:.2g} to {row['high']:.2g})" if row["low"] == row["low"] else ""
        place = (
            f"{row['place']}. {row['method']}"
            if row["mean_place"] == row["mean_place"]
            else f"-  {row['method']}"
        )
        typer.echo(f"  {place}: {row['times_chance']:.2g} times chance{interval}")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Table: {result.table}")
    typer.echo(f"Plot: {result.plot}")


def tell_figure(result: Any) -> None:
    typer.echo(f"Figure: {result.figure}")
    typer.echo(f"Made from: {result.sidecar}")


def tell_info(result: Any) -> None:
    for section in getattr(result, "sections", [result]):
        channels, height, width = section.shape
        typer.echo(f"{section.name}: {section.format} ({section.dialect}), {section.path}")
        if section.subject or section.group:
            typer.echo(f"  Subject {section.subject}, group {section.group or 'not told'}")
        typer.echo(
            f"  {channels} channels of {height} x {width} pixels, {section.dtype}, {section.pixel_size_um:g} µm a pixel"
        )
        if len(section.levels) > 1:
            typer.echo(f"  Pyramid: {', '.join(f'{y} x {x}' for y, x in section.levels)}")
        for channel in section.channels:
            isotope = f"{channel['mass']}{channel['metal']}" if channel["metal"] else "-"
            typer.echo(
                f"  {channel['index']:3d}  {isotope:6s} {channel['target']:24s} {channel['role']:20s} from {channel['source']}"
            )
        for each in section.acquisitions:
            size = " x ".join(map(str, each["shape"])) if each["shape"] else "unknown size"
            typer.echo(
                f"  Acquisition {each['id']} {each['description']}: {each['problem'] or size}{' (this one)' if each['id'] == section.acquisition else ''}"
            )
        for warning in section.warnings:
            typer.echo(f"  Warning: {warning}")
    if hasattr(result, "sections"):
        for warning in result.warnings:
            typer.echo(f"Warning: {warning}")
        for each in result.failed:
            typer.echo(f"Not opened: {each['error']}")


def tell_convert(result: Any) -> None:
    for warning in result.warnings:
        typer.echo(f"Warning: {warning}")
    typer.echo(
        f"{' x '.join(map(str, result.shape))} in {result.levels} level{'s' if result.levels > 1 else ''}: {result.out}"
    )


def tell_cohort(result: Any) -> None:
    for row in result.sections:
        told = [row.path.name + (f" ({row.acquisition})" if row.acquisition else "")]
        if row.shape is not None:
            told.append(" x ".join(map(str, row.shape)))
        if row.patches is not None:
            told.append(f"{row.patches} patches")
        if row.missing:
            told.append(f"lacks {', '.join(row.missing)}")
        if not row.include:
            told.append("left out")
        typer.echo(f"{row.subject or '-':12s} {row.group or '-':10s} {' · '.join(told)}")
        if row.problem:
            typer.echo(f"{'':23s} Not read: {row.problem}")
    for group, subjects in result.groups.items():
        typer.echo(
            f"{group or 'No group'}: {len(subjects)} subject{'' if len(subjects) == 1 else 's'} ({', '.join(subjects)})"
        )
    typer.echo(f"Channels in every section: {', '.join(result.channels) or 'none'}")
    for sentence in result.same:
        typer.echo(f"Same image: {sentence}")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    if result.table is not None:
        typer.echo(f"Table: {result.table}")
        lacking = {row.subject for row in result.sections if row.include and row.missing}
        without = [word for subject in sorted(lacking) for word in ("--where", f"subject!={subject}")]
        if "" not in result.groups:  # else the table has to be filled in first, as a note says
            _tell_next("train", result.table, *without, "--out", "RUN", "--hold-out", "SUBJECT")


def tell_download(result: Any) -> None:
    typer.echo(f"Cohort: {result.cohort}")
    _tell_next("train", result.cohort, "--out", "RUN")


def tell_report(result: Any) -> None:
    counted = ", ".join(f"{kind.lower()}: {number}" for kind, number in result.parts.items())
    typer.echo(f"In it: {counted}")
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Report: {result.report}")


def tell_demo(result: Any) -> None:
    for line in result.lines:
        typer.echo(line)
