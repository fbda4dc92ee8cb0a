"""What answers call things, in several languages: names of dimensions, labels of lines, signs of a rule.

Everything is compared in small letters. A rubric of one's own adds ``words`` to its dimensions and rules.
"""

from __future__ import annotations

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "clarity": (
        "facial detail clarity", "facial details clarity", "face detail clarity", "facial clarity",
        "detail clarity", "clarity", "面部细节清晰度", "人脸细节清晰度", "面部清晰度", "细节清晰度", "清晰度",
        "面部細節清晰度", "細節清晰度", "顔の細部の鮮明さ", "顔の細部の明瞭さ", "顔のディテールの鮮明さ",
        "顔のディテールの明瞭さ", "顔の鮮明さ", "顔の鮮明度", "ディテールの鮮明さ", "鮮明さ", "鮮明度", "明瞭さ",
        "明瞭度", "クラリティ", "clarté des détails du visage", "clarté des détails faciaux",
        "netteté des détails du visage", "netteté des détails faciaux", "clarté", "netteté",
        "klarheit der gesichtsdetails", "schärfe der gesichtsdetails", "gesichtsdetailklarheit",
        "gesichtsdetailschärfe", "detailklarheit", "detailschärfe", "klarheit", "schärfe",
        "claridad de los detalles faciales", "claridad", "선명도",
    ),
    "stability": (
        "video stability & regional motion blur", "video stability and regional motion blur",
        "video stability & motion blur", "video stability and motion blur", "stability & regional motion blur",
        "stability and regional motion blur", "stability & motion blur", "stability and motion blur",
        "video stability", "stability", "视频稳定性与局部运动模糊", "视频稳定性和局部运动模糊",
        "视频稳定性与区域运动模糊", "视频稳定性", "画面稳定性", "稳定性", "視頻穩定性", "影片穩定性", "穩定性",
        "映像の安定性", "動画の安定性", "ビデオの安定性", "安定性", "stabilité de la vidéo", "stabilité vidéo",
        "stabilité", "videostabilität", "bildstabilität", "stabilität", "estabilidad del vídeo", "estabilidad",
        "안정성",
    ),
    "lighting": (
        "lighting quality", "lighting", "illumination", "光照质量", "照明质量", "光线质量", "光照", "照明", "光线",
        "光照品質", "光線", "照明品質", "照明の品質", "照明の質", "ライティング", "qualité de l'éclairage",
        "qualité d'éclairage", "éclairage", "qualité de la lumière", "lumière", "beleuchtungsqualität",
        "lichtqualität", "beleuchtung", "ausleuchtung", "calidad de la iluminación", "iluminación", "조명",
    ),
    "artifacts": (
        "artifact & noise level", "artifact and noise level", "artifacts & noise level",
        "artifacts and noise level", "compression artifacts & noise", "compression artifacts and noise",
        "artifacts & noise", "artifacts and noise", "artifact level", "artifacts", "artifact",
        "artefacts and noise", "artefacts & noise", "artefacts", "伪影与噪声水平", "伪影和噪声水平",
        "伪影与噪点水平", "伪影与噪声", "伪影和噪声", "伪影与噪点", "伪影和噪点", "伪影/噪声", "伪影", "噪声与伪影",
        "偽影與雜訊", "偽影", "アーティファクトとノイズのレベル", "アーティファクトとノイズ",
        "アーティファクト・ノイズ", "アーティファクト", "niveau d'artefacts et de bruit", "artefacts et bruit",
        "artefakt- und rauschpegel", "artefakte und rauschen", "artefakte & rauschen", "artefakte", "bildartefakte",
        "artefactos y ruido", "artefactos", "아티팩트",
    ),
    "occlusion": (
        "facial occlusion", "face occlusion", "occlusion", "面部遮挡", "人脸遮挡", "遮挡情况", "遮挡", "面部遮擋",
        "遮擋", "顔の遮蔽", "顔の隠れ", "遮蔽", "オクルージョン", "occlusion du visage", "occlusion faciale",
        "occultation du visage", "occultation", "gesichtsverdeckung", "verdeckung des gesichts", "verdeckung",
        "okklusion", "oclusión facial", "oclusión", "가림",
    ),
}  # fmt: skip
"""By key. Longer names come first where a line begins with both."""

LABELS: dict[str, tuple[str, ...]] = {
    "base": (
        "base score calculation", "base score", "base total", "base", "基础得分计算", "基础得分", "基础分数",
        "基础总分", "基础分", "基本分", "基礎得分", "基礎分", "ベーススコア", "基本スコア", "基礎スコア", "基礎点",
        "基本点", "score de base", "note de base", "basispunktzahl", "basisbewertung", "basiswert", "basis-score",
        "basisscore", "grundpunktzahl", "grundwert", "puntuación base",
    ),
    "total": (
        "total adjustments", "total adjustment", "adjustment total", "adjustments total", "net adjustment",
        "sum of adjustments", "总调整分", "总调整", "调整总分", "调整总计", "调整合计", "合计调整", "總調整",
        "調整合計", "調整総計", "合計調整", "総調整", "ajustement total", "total des ajustements",
        "gesamtanpassung", "anpassung gesamt", "summe der anpassungen", "anpassungen gesamt", "ajuste total",
    ),
    "adjustments": (
        "bonus/penalty adjustments", "bonus / penalty adjustments", "bonus and penalty adjustments",
        "bonus/penalty adjustment", "bonuses and penalties", "bonuses/penalties", "bonus/penalty", "adjustments",
        "奖励/惩罚调整", "奖惩调整", "加分/扣分调整", "加分/扣分", "加减分调整", "加减分", "调整项", "獎懲調整",
        "ボーナス/ペナルティ調整", "ボーナス/ペナルティの調整", "ボーナス/ペナルティ", "加点/減点", "加点・減点",
        "ajustements bonus/pénalité", "ajustements (bonus/pénalités)", "ajustements", "bonus/malus-anpassungen",
        "bonus-/malus-anpassungen", "bonus/malus", "anpassungen", "ajustes",
    ),
    "final": (
        "final score", "final total", "final", "overall score", "total score", "最终得分", "最终分数", "最终评分",
        "最终总分", "总分", "最終得分", "最終分數", "最終スコア", "最終得点", "最終点数", "最終評価点",
        "総合スコア", "合計スコア", "score final", "note finale", "score total", "endpunktzahl", "gesamtpunktzahl",
        "endbewertung", "endwert", "endergebnis", "finaler score", "puntuación final",
    ),
    "tier": (
        "quality tier", "tier", "quality level", "质量等级", "质量级别", "质量层级", "品质等级", "質量等級",
        "品質等級", "品質ティア", "品質ランク", "品質レベル", "niveau de qualité", "catégorie de qualité",
        "qualitätsstufe", "qualitätsklasse", "nivel de calidad",
    ),
    "issues": (
        "critical issues", "critical issue", "key issues", "关键问题", "严重问题", "主要问题", "關鍵問題",
        "重大な問題点", "重大な問題", "致命的な問題", "重要な問題", "problèmes critiques", "problèmes majeurs",
        "kritische probleme", "kritische mängel", "problemas críticos",
    ),
    "blur": (
        "motion blur check", "motion blur assessment", "运动模糊检查", "运动模糊检测", "动态模糊检查",
        "運動模糊檢查", "モーションブラーの確認", "モーションブラー確認", "モーションブラーチェック",
        "モーションブラーの有無", "vérification du flou de mouvement", "contrôle du flou de mouvement",
        "bewegungsunschärfe-prüfung", "prüfung auf bewegungsunschärfe", "prüfung der bewegungsunschärfe",
        "bewegungsunschärfeprüfung", "comprobación de desenfoque",
    ),
    "scores": (
        "individual scores", "individual score", "各项得分", "单项得分", "各項目のスコア", "個別スコア",
        "scores individuels", "notes individuelles", "einzelbewertungen", "einzelwertungen",
    ),
    "results": (
        "final results", "final result", "最终结果", "最終結果", "résultats finaux", "résultat final",
        "endergebnisse",
    ),
}  # fmt: skip
"""What a line begins with, by what it tells."""

RULES: dict[str, tuple[str, ...]] = {
    "skin_texture": (
        "skin texture", "texture detail", "skin detail", "皮肤纹理", "皮肤质感", "皮膚紋理", "肌の質感",
        "肌のテクスチャ", "皮膚の質感", "texture de la peau", "texture de peau", "grain de peau", "hauttextur",
        "hautstruktur", "textura de la piel",
    ),
    "color": (
        "color reproduction", "colour reproduction", "white balance", "perfect color", "perfect colour",
        "color accuracy", "色彩", "白平衡", "颜色还原", "色再現", "ホワイトバランス", "reproduction des couleurs",
        "balance des blancs", "farbwiedergabe", "farbtreue", "weißabgleich", "balance de blancos",
    ),
    "motion_blur": (
        "motion blur", "motion-blur", "blur in the mouth", "blur in the eyes", "运动模糊", "动态模糊", "運動模糊",
        "モーションブラー", "動きぼけ", "動きブレ", "flou de mouvement", "flou cinétique", "bewegungsunschärfe",
        "desenfoque de movimiento",
    ),
    "noise": (
        "noise", "noisy", "grain", "噪点", "噪声", "噪音", "颗粒", "雜訊", "噪點", "ノイズ", "粒状", "bruit",
        "rauschen", "bildrauschen", "körnung", "ruido",
    ),
    "smoothing": (
        "smoothing", "smoothed", "over-smooth", "beauty filter", "beautification", "磨皮", "美颜", "平滑", "美顏",
        "スムージング", "美肌", "lissage", "lissée", "filtre beauté", "filtre de beauté", "glättung", "geglättet",
        "beautyfilter", "beauty-filter", "weichzeichn", "suavizado",
    ),
    "sharpness": (
        "inconsistent sharpness", "sharpness inconsistency", "uneven sharpness", "sharpness", "清晰度不一致",
        "锐度不一致", "锐度", "清晰度", "シャープネス", "鮮明さのばらつき", "鮮鋭度", "netteté",
        "ungleichmäßige schärfe", "schwankende schärfe", "inkonsistente schärfe", "bildschärfe",
        "schärfeschwankung", "nitidez",
    ),
}  # fmt: skip

NOT_APPLIED = (
    "not applied", "not applicable", "does not apply", "doesn't apply", "not awarded", "not deducted",
    "not warranted", "n/a", "no bonus", "no penalty", "no bonuses", "no penalties", "no adjustment",
    "no adjustments", "no deduction", "no deductions", "不适用", "未应用", "不扣分", "不加分", "无扣分", "无加分",
    "无奖励", "无惩罚", "不適用", "未應用", "該当なし", "該当せず", "適用なし", "適用せず", "適用外",
    "適用されない", "non applicable", "non appliqué", "nicht zutreffend", "nicht angewendet", "nicht anwendbar",
    "entfällt", "no aplica",
)  # fmt: skip
"""An adjustment that is only named."""
ABSENT = (
    "none", "not detected", "not present", "not observed", "not visible", "no", "absent", "未检测到", "未发现",
    "没有", "无", "無", "なし", "ありません", "aucun", "aucune", "néant", "keine", "keiner", "ninguno", "ninguna",
)  # fmt: skip
"""The same where a phrase begins with it, as in "Motion blur: none"."""

BONUS = ("bonus", "bonuses", "加分", "奖励", "獎勵", "ボーナス", "加点", "bonification", "zuschlag", "bonificación")
PENALTY = ("penalty", "penalties", "deduction", "deduct", "扣分", "扣", "减分", "惩罚", "懲罰", "ペナルティ", "減点",
           "pénalité", "malus", "strafe", "abzug", "penalización")  # fmt: skip
SCORE = ("score", "rating", "points", "grade", "得分", "评分", "分数", "分數", "スコア", "点数", "得点", "評価", "note",
         "punkte", "punktzahl", "bewertung", "wertung", "puntuación", "점수")  # fmt: skip
"""Before a score on a line of its own, or after a dimension's name."""
MAXIMUM = (
    "max", "maximum", "max score", "max points", "maximum score", "maximum points", "out of", "weight", "possible",
    "满分", "滿分", "权重", "満点", "配点", "barème", "maximal", "maximalpunkte", "gewicht",
)  # fmt: skip
"""Over a table's column that holds the best possible scores."""
OUT_OF = ("out of", "of", "sur", "von", "de")
POINTS = ("points", "point", "pts", "pt", "punkte", "punkten", "分", "点", "點", "点満点", "puntos", "점")
